"""A registry's volume as it lies on the disk, for reading: layout, links, manifests, blobs."""
