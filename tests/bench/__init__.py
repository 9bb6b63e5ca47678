"""Benchmarks: each compares with a peer in the same run, and `make bench` writes what it measured to the docs."""
