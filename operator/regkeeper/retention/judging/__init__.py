"""Which tags and manifests of each repository go, which stay, and why."""
