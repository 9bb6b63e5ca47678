"""regkeeper keeps a cluster's own container registries."""
