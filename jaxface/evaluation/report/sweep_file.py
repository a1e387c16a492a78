"""Sweeps and slices read from JSON files, and checked as far as the report uses them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData

MOST_BYTES = 1 << 28
FIGURES = ("accuracy", "auc", "eer")
RATES = ("fmr", "fnmr")


def read_table(path: str | Path, kind: str) -> dict[str, Any]:
  """Reads a file of `jaxface sweep` or `jaxface slices`.

  Args:
    path: the file.
    kind: "sweep" or "slices".
  Raises:
    DamagedData: not JSON, another kind of file, no rows, or a figure that is not a share in [0, 1]; names the row.
  """
  data = Path(path).read_bytes()
  if len(data) > MOST_BYTES:
    raise DamagedData(f"larger than {MOST_BYTES >> 20} MB: too large for a {kind}", file=path)
  try:
    table = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"not JSON: {error}", file=path) from error
  found = table.get("kind") if isinstance(table, dict) else None
  if found != kind:
    what = f"is of kind {found!r}" if found else "has no kind"
    raise DamagedData(f"{what}, expected {kind!r}: make one with jaxface {kind}", file=path)
  try:
    check_table(table)
  except ValueError as error:
    raise DamagedData(str(error), file=path) from error
  return table


def check_table(table: Mapping[str, Any]) -> None:
  """Checks a sweep or slices.

  Args:
    table: with `kind`.
  Raises:
    ValueError: names the row and what is wrong.
  """
  rows = table.get("rows" if table["kind"] == "sweep" else "groups")
  key = "value" if table["kind"] == "sweep" else "group"
  if not isinstance(rows, list) or not (rows or (key == "value" and table.get("reference"))):
    raise ValueError(f"has no {'rows' if key == 'value' else 'groups'}")
  if not isinstance(table.get("axis" if key == "value" else "column"), str):
    raise ValueError(f"does not name its {'axis' if key == 'value' else 'column'}")
  reference = table.get("reference")
  for row in rows if key == "group" else []:
    _check_shared(row)
  for at, row in enumerate([*rows, *([reference] if reference is not None else [])], 1):
    if not isinstance(row, dict) or key not in row:
      raise ValueError(f"row {at} has no {key!r}")
    shares = {name: row[name] for name in FIGURES if row.get(name) is not None}
    if not shares:
      raise ValueError(f"row {at} has none of the figures {', '.join(FIGURES)}")
    if not isinstance(row.get("tar_at_far", {}), dict) or not isinstance(row.get("tar_at_far_95", {}), dict):
      raise ValueError(f"row {at}: tar_at_far is not a table by target")
    shares |= {f"tar_at_far {name}": value for name, value in row.get("tar_at_far", {}).items() if value is not None}
    for name, value in shares.items():
      if not _share(value):
        raise ValueError(f"row {at}: {name} is {value!r}, not a share in [0, 1]")
      ends = interval_of(row, name)
      if ends is not None and not (len(ends) == 2 and all(map(_share, ends))):
        raise ValueError(f"row {at}: the interval of {name} is {ends!r}, not two shares")


def _check_shared(row: Any) -> None:
  """Checks the rates of a group at thresholds that all groups share, where it has any."""
  shared = row.get("shared", {}) if isinstance(row, dict) else {}
  if not isinstance(shared, dict) or not all(isinstance(rates, dict) for rates in shared.values()):
    raise ValueError(f"group {row.get('group')!r}: shared is not a table by threshold")
  for point, rates in shared.items():
    for name in RATES:
      ends = rates.get(f"{name}_95")
      if not all(value is None or _share(value) for value in (rates.get(name), *(ends or ()))):
        raise ValueError(f"group {row.get('group')!r}: {name} at {point} is not a share in [0, 1]")


def figure_of(row: Mapping[str, Any], name: str) -> float | None:
  """A figure of a row by name, such as "accuracy" or "tar_at_far 1e-3"; None if it has none."""
  first, _, target = name.partition(" ")
  value = row.get(first, {}).get(target) if target else row.get(first)
  return None if value is None else float(value)


def interval_of(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
  """The 95 % interval of a figure of a row; None if it has none."""
  first, _, target = name.partition(" ")
  for key in (f"{first}_95", f"{first}_interval"):
    ends = row.get(key)
    ends = ends.get(target) if target and isinstance(ends, dict) else ends
    if isinstance(ends, list | tuple):
      return tuple(ends)
  return None


def names_of(rows: list[Mapping[str, Any]]) -> list[str]:
  """The figures that any row has, in one order."""
  targets = dict.fromkeys(target for row in rows for target in row.get("tar_at_far", {}))
  names = [*FIGURES, *(f"tar_at_far {target}" for target in targets)]
  return [name for name in names if any(figure_of(row, name) is not None for row in rows)]


def _share(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


__all__ = ["RATES", "check_table", "figure_of", "interval_of", "names_of", "read_table"]
