"""Images made from files and programs: tar archives in the cache, each under a key of its content."""
