"""Speed and correctness on a GPU or TPU; see `benchmarks.accelerator.__main__`."""

from benchmarks.bare import prepare

# Every process of this benchmark, its workers too, imports this package first.
prepare()
