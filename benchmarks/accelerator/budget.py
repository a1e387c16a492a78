"""Parts of a run by importance, within a time: what no longer fits is skipped, and all figures so far are in the file after each part."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.accelerator.sides import reason

Tables = dict[str, list[dict[str, Any]]]
DONE, SKIPPED, FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class Part:
  """A part of the run.

  Attributes:
    name: of the part.
    seconds: how long it probably takes on an H100; corrected by what the parts before took.
    run: measures, and returns rows by table.
  """

  name: str
  seconds: float
  run: Callable[[], Tables]


@dataclass
class Report:
  """All that was found so far.

  Attributes:
    command: that made it.
    minutes: budget.
    machine: facts about the device.
    parts: of each: its name, state, seconds, and what was wrong.
    tables: rows by table.
  """

  command: str
  minutes: float
  machine: dict[str, Any] = field(default_factory=dict)
  parts: list[dict[str, Any]] = field(default_factory=list)
  tables: Tables = field(default_factory=dict)

  def write(self, file: Path) -> None:
    """Writes it as JSON; the file appears whole."""
    from jaxface.formats.atomic import write_text

    write_text(file, json.dumps(vars(self), ensure_ascii=False, indent=1) + "\n")

  @classmethod
  def read(cls, file: Path) -> "Report":
    """The inverse of `write`."""
    return cls(**json.loads(file.read_text(encoding="utf-8")))


def run_parts(
  parts: Sequence[Part], report: Report, deadline: float, *, file: Path | None = None, say: Callable[[str], None] = print,
  now: Callable[[], float] = time.monotonic,
) -> None:
  """Runs parts in their order, as long as there is time.

  Args:
    parts: the most important first.
    report: gets the results.
    deadline: in seconds of `now`.
    file: where the report is written after each part; None for nowhere.
    say: takes a line for each part.
    now: clock.
  """
  taken: list[float] = []
  for part in parts:
    start = now()
    left = deadline - start
    need = part.seconds * (median(taken) if taken else 1.0)
    entry: dict[str, Any] = {"name": part.name}
    if need > left:
      entry |= {"state": SKIPPED, "why": f"needs about {need:.0f} s, {max(0.0, left):.0f} s are left"}
    else:
      try:
        tables = part.run()
        entry |= {"state": DONE}
        for title, rows in tables.items():
          report.tables.setdefault(title, []).extend(rows)
      except TimeoutError:
        entry |= {"state": SKIPPED, "why": f"was ended after {now() - start:.0f} s"}
      except (RuntimeError, AssertionError, ImportError, OSError, ValueError) as error:
        entry |= {"state": FAILED, "why": reason(error)}
      entry["seconds"] = round(now() - start, 1)
      taken.append((now() - start) / part.seconds)
    say(f"{part.name}: {entry['state']}" + (f", {entry['seconds']} s" if "seconds" in entry else "") + (f": {entry['why']}" if "why" in entry else ""))
    report.parts.append(entry)
    if file is not None:
      report.write(file)


__all__ = ["DONE", "FAILED", "SKIPPED", "Part", "Report", "Tables", "run_parts"]
