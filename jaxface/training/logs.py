"""Metrics of a run as JSON lines and TensorBoard files; a resumed run continues the same files."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.training.events import EventFile

METRICS_FILE = "metrics.jsonl"
EVENTS_FOLDER = "tensorboard"


def host_scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
  """Metrics as Python floats, fetched from the devices in one transfer.

  Args:
    metrics: scalar by name: numbers, NumPy or device arrays of one element.
  Raises:
    ValueError: a metric is not a scalar.
  """
  out = {}
  for name, value in jax.device_get(dict(metrics)).items():
    if np.size(value) != 1:
      raise ValueError(f"metric {name!r} has shape {np.shape(value)}: only scalars are logged")
    out[name] = float(np.asarray(value).reshape(()))
  return out


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
  """Rows of a run's metrics file, in order.

  Args:
    folder: of the run.
  Returns:
    Dictionaries with `step`, `time` (seconds since 1970) and the metrics; None for non-finite values. An incomplete last
    line, left by a crash, is ignored.
  Raises:
    ValueError: another line is not a valid row; the message names file and line.
  """
  path = Path(folder) / METRICS_FILE
  rows = []
  lines = path.read_text(encoding="utf-8").split("\n")
  for number, line in enumerate(lines[:-1], 1):
    try:
      row = json.loads(line)
      rows.append({**row, "step": int(row["step"])})
    except (ValueError, TypeError, KeyError) as error:
      raise ValueError(f"{path}, line {number}: not a row of metrics (a JSON object with a step): {line!r}") from error
  return rows


class MetricWriter:
  """Appends rows to `metrics.jsonl` and to a TensorBoard file in the folder `tensorboard`.

  Writing does not block on the devices if the metrics are those of the previous interval, which are finished.

  Args:
    folder: folder of the run; created if missing.
    resume_step: first step that will be written: rows at or after it are removed, by replacing the file atomically, and
      TensorBoard discards them too. 0 removes all.

  A context manager; `close` otherwise.
  """

  def __init__(self, folder: Path | str, *, resume_step: int = 0):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / METRICS_FILE
    rows = read_metrics(folder) if path.exists() else []
    with atomic_file(path, "w") as file:
      file.writelines(_line(row) for row in rows if row["step"] < resume_step)
    self._file = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115
    self._events = EventFile(folder / EVENTS_FOLDER, start_step=resume_step)

  def write(self, step: int, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Writes one row to both files.

    Args:
      step: number of the step.
      metrics: scalar by name; device arrays should be computed already.
    Returns:
      The metrics as floats, for a progress line.
    Raises:
      ValueError: a metric is not a scalar, or is called "step" or "time".
    """
    taken = {"step", "time"} & metrics.keys()
    if taken:
      raise ValueError(f"metric {sorted(taken)[0]!r}: the names step and time are reserved")
    values = host_scalars(metrics)
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    self._file.write(_line({"step": int(step), "time": round(time.time(), 3), **finite}))
    self._file.flush()
    self._events.write(int(step), values)
    return values

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._events.close()

  def __enter__(self) -> "MetricWriter":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _line(row: Mapping[str, Any]) -> str:
  # JSON has no NaN: non-finite values are null.
  return json.dumps(row, allow_nan=False) + "\n"


__all__ = ["EVENTS_FOLDER", "METRICS_FILE", "MetricWriter", "host_scalars", "read_metrics"]
