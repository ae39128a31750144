"""Benchmarks of ``densehybrid benchmark``: a file each, found by its name."""
