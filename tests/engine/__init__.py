"""Tests of the deletion engine: volumes and documents to feed it, an oracle to judge it, and the programs it serves."""
