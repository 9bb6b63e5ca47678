"""Pure builders: a Registry and the facts that a pass has read in, plain Kubernetes objects out. One file an object.

Nothing here reads a cluster, a clock or a file: the same arguments always give the same object.
"""
