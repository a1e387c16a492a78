"""Benchmarks of jaxface against its peers, one file per claim; `python -m benchmarks` runs all of them."""
