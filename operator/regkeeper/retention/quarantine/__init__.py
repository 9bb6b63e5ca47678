"""What changes a volume, and how each change is journalled, so that there is a way back from it."""
