"""What jaxface is measured against, one file per claim; `python -m benchmarks` runs them all."""
