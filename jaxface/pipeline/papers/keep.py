"""Keeps what runs and systems measured as result files."""

from collections.abc import Sequence
from pathlib import Path

from jaxface.pipeline.papers.result_file import Measured, of_run
from jaxface.pipeline.papers.table import results_folder
from jaxface.training.config import experiment_folder


def keep_results(sources: Sequence[str | Path], folder: str | Path | None = None) -> list[Path]:
  """Writes a result file for each run or system.

  Args:
    sources: workdirs of finished runs of `jaxface train`, or result files.
    folder: where to write; None for `experiments/results` of a checkout.
  Returns:
    The files, each named after its run; an existing one is replaced.
  Raises:
    ValueError: no folder is given and jaxface is installed without a checkout.
    FileNotFoundError: no finished run there.
    DamagedData: a file that is damaged or of another kind.
  """
  if folder is None and experiment_folder().name != "experiments":
    raise ValueError("jaxface is installed without a checkout: give a folder for the result files (--results DIR)")
  files = []
  for source in map(Path, sources):
    found = Measured.read(source) if source.is_file() else of_run(source)
    files.append(Path(folder or results_folder()) / f"{found.name}.json")
    found.write(files[-1])
  return files


__all__ = ["keep_results"]
