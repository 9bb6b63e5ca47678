"""End-to-end tests: a real API server, and where a test needs them real nodes."""
