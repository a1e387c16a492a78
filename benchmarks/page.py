"""Results of a benchmark as Markdown and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Findings:
  """Results of one benchmark.

  Attributes:
    title: subject of the benchmark.
    machine: result of `common.machine`.
    facts: other constants of all rows.
    rows: lines of the table; all with the same keys.
    notes: remarks on the figures: meaning of columns, bars.
  """

  title: str
  machine: Mapping[str, Any]
  facts: Mapping[str, Any]
  rows: Sequence[Mapping[str, Any]]
  notes: Sequence[str] = ()

  def markdown(self) -> str:
    """The table with its facts and notes, under a heading; without the machine."""
    facts = dict(self.facts) | {"load at the end": self.machine["load"]}
    lines = [f"## {self.title}", "", describe(facts), "", "| " + " | ".join(self.rows[0]) + " |"]
    lines.append("|" + "---|" * len(self.rows[0]))
    lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in self.rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

  def publish(self, file: str | None) -> None:
    """Print, and write as JSON if a file is given."""
    print(f"\n{describe(self.machine)}\n\n{self.markdown()}", flush=True)
    if file is not None:
      Path(file).write_text(json.dumps(asdict(self), ensure_ascii=False) + "\n", encoding="utf-8")

  @classmethod
  def read(cls, file: Path) -> "Findings":
    """The inverse of `publish`."""
    return cls(**json.loads(file.read_text(encoding="utf-8")))


def describe(facts: Mapping[str, Any]) -> str:
  """Facts on one line."""
  return " · ".join(f"{key} {cell(value)}" for key, value in facts.items())


def cell(value: Any) -> str:
  """Formats a value: three digits, thousands separators."""
  if isinstance(value, Mapping):
    return ", ".join(f"{key} {cell(each)}" for key, each in value.items())
  if isinstance(value, float):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
  return f"{value:,}" if isinstance(value, int) else str(value)
