"""Tables of a report as Markdown."""

from typing import Any

from benchmarks.accelerator.budget import DONE, Report
from benchmarks.page import cell, describe

NOTES = {
  "Training step": [
    "Complete steps of `jaxface train` in bfloat16 on one device: normalise, forward, CosFace, backward, SGD. TFLOP/s are those of the"
    " model: three times the forward pass, two operations for each multiply-add. Share of peak is theirs of the published peak.",
    "Memory is the peak of the device's allocator in the process of the side, or that of the compiled program where the device tells"
    " none. Compile time is cold.",
    "Speed is PyTorch's time divided by ours, per round: median, and quartiles in brackets.",
  ],
  "Time by part, ms per step": [
    "From a trace of five steps: the time of the operations of each part, and the time in which none ran. A fusion with a convolution"
    " counts as a convolution, whatever else it contains.",
  ],
  "Correctness, device against CPU": [
    "Tolerances are measured. In float32: 32 times the change of the CPU's result when its inputs change by a unit of rounding. In bfloat16: twice"
    " the distance of the CPU's result in bfloat16 from that in float32, of which the device's distance is the error.",
  ],
}


def markdown(report: Report) -> str:
  """All tables, with the device and what was skipped or failed."""
  machine = {name: value for name, value in report.machine.items() if value not in (None, "", {}, [])}
  parts = [f"Made by `{report.command}`.", describe(machine)]
  for title, rows in report.tables.items():
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in columns if any(row.get(name, "") != "" for row in rows)]
    lines = [f"### {title}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in columns) + " |" for row in rows]
    parts.append("\n".join([*lines, *(["", *(f"- {note}" for note in NOTES[title])] if title in NOTES else [])]))
  if missing := [part for part in report.parts if part["state"] != DONE]:
    parts.append("\n".join(["### Not measured", "", *(_missing(part) for part in missing)]))
  return "\n\n".join(parts)


def _missing(part: dict[str, Any]) -> str:
  return f"- {part['name']}: {part['state']}: {part['why']}"


__all__ = ["markdown"]
