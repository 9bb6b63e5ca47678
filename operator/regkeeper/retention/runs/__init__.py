"""A run from its beginning to its end, its undo and its purge."""
