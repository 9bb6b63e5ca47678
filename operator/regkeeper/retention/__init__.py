"""The deletion engine, for any registry's volume: docs/architecture.md shows its rooms."""
