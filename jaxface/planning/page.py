"""A plan as one self-contained HTML page with a picture of a device's memory."""

from pathlib import Path

from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import card, document, section, table
from jaxface.formats.atomic import write_text
from jaxface.planning.make import Plan
from jaxface.planning.roofline import ASSUMPTIONS
from jaxface.planning.text import exchange_rows, setting_rows, time_rows, verdict, work_rows
from jaxface.training.memory_table import size_text

_WIDTH, _BAR, _LINE = 640, 44, 20


def write_page(path: str | Path, plan: Plan, command: str = "") -> None:
  """Writes the page, whole or not at all.

  Args:
    path: file to write.
    plan: the plan.
    command: command that made it.
  """
  chips = plan.topology
  parts = [
    f"<header>\n<h1>{escape(plan.experiment)} on {escape(chips.name)}</h1>\n<p class=\"lead\">{chips.count:,} devices, batch {plan.batch:,},"
    f" {plan.identities:,} identities: {escape(verdict(plan))}.</p>\n</header>",
    section("Memory of a device", "", [card("By part", memory_picture(plan))]),
    _section("Memory", [(name, [size_text(nbytes)]) for name, nbytes in plan.parts.items()], ["part", "bytes"]),
    _section("Work of a device in a step", [(row[0], [escape(row[1])]) for row in work_rows(plan)[1:]], ["", ""]),
  ]
  if plan.exchanges:
    parts.append(_section(
      "Exchanged in a step", [(row[0], [escape(cell) for cell in row[1:]]) for row in exchange_rows(plan)],
      ["collective", "axis", "devices", "times", "bytes", "seconds"],
    ))
  if plan.time:
    parts.append(_section("Time", [(row[0], [escape(row[1])]) for row in time_rows(plan)], ["", ""]))
  if plan.tried:
    said = f"It fits with {escape(plan.enough.text)}: {size_text(plan.fitting)}." if plan.enough else ""
    parts.append(_section(
      "Settings that were tried", [(row[0], [escape(cell) for cell in row[1:]]) for row in setting_rows(plan)], ["setting", "memory", "effect"], said
    ))
  lines = [*plan.notes, *(f"assumed: {line}" for line in ASSUMPTIONS if plan.time), *([f"command: {command}"] if command else [])]
  parts.append("<section>\n<h2>Measured, estimated, assumed</h2>\n<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>\n</section>")
  write_text(path, document(f"{plan.experiment} on {chips.name}", parts))


def memory_picture(plan: Plan) -> str:
  """A bar of a device's memory by part, with the device's limit, as `<svg>`."""
  largest = max(plan.memory, plan.limit) or 1
  names = [name for name, nbytes in plan.parts.items() if nbytes > 0]
  height = _BAR + 34 + _LINE * len(names)
  shapes, at = [], 0.0
  for place, name in enumerate(names):
    width = _WIDTH * plan.parts[name] / largest
    colour = f"var(--model{place % 8})"
    y = _BAR + 34 + _LINE * place
    label = f"{escape(name)}: {size_text(plan.parts[name])}"
    shapes.append(f'<rect x="{at:.2f}" y="4" width="{width:.2f}" height="{_BAR}" fill="{colour}"><title>{label}</title></rect>')
    shapes.append(f'<rect x="0" y="{y - 11}" width="12" height="12" fill="{colour}"/><text x="20" y="{y}" font-size="13" fill="var(--ink)">{label}</text>')
    at += width
  if plan.limit:
    x = _WIDTH * plan.limit / largest
    shapes.append(f'<line x1="{x:.2f}" x2="{x:.2f}" y1="0" y2="{_BAR + 8}" stroke="var(--mark)" stroke-width="2"/>')
    shapes.append(
      f'<text x="{min(x, _WIDTH):.2f}" y="{_BAR + 19}" font-size="12" text-anchor="end" fill="var(--soft)">a device has {size_text(plan.limit)}</text>'
    )
  label = escape(f"memory of a device by part: {verdict(plan)}")
  return f'<svg class="chart" viewBox="0 0 {_WIDTH + 2} {height}" role="img" aria-label="{label}">{"".join(shapes)}</svg>'


def _section(heading: str, rows: list[tuple[str, list[str]]], heads: list[str], text: str = "") -> str:
  return f'<section>\n<h2>{heading}</h2>\n<div class="card scroll">{table(text, heads, rows, numbers=False)}</div>\n</section>'


__all__ = ["memory_picture", "write_page"]
