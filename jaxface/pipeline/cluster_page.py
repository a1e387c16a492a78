"""The report of `jaxface doctor --cluster` as lines for a terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jaxface.pipeline.cluster import ClusterReport


def cluster_lines(report: "ClusterReport") -> list[str]:
  """Tables of the processes and of the links, then the faults and the verdict."""
  rows = [["process", "host", "devices", "memory each", "cores", *(["rows"] if report.rows else [])]]
  for index, one in enumerate(report.processes):
    memory = f"{one['device_memory'] / 2**30:.1f} GiB" if one["device_memory"] else "–"
    shown = [str(index), one["host"], f"{one['devices']} × {one['kind']}", memory, str(one["cores"])]
    rows.append([*shown, *([str(report.rows[index])] if report.rows else [])])
  lines = table_lines(rows)
  if report.mesh:
    lines += ["", "mesh: " + ", ".join(f"{name} {size}" for name, size in report.mesh.items())]
  if report.links:
    rows = [["all-reduce", "devices", "MB each", "ms", "GB/s", "expected", "100 MB take", "by"]]
    for link in report.links:
      expected = "–" if link.expected.rate is None else f"{link.expected.rate:.3g}"
      long = link.seconds * 1e8 / link.size
      rows.append([
        link.name, str(link.devices), f"{link.size / 1e6:.3g}", f"{1e3 * link.seconds:.3g}", f"{link.rate:.3g}", expected,
        f"{1e3 * long:.3g} ms", link.expected.why,
      ])
    lines += ["", *table_lines(rows)]
  lines += ["", *(f"note: {note}" for note in report.notes), *(f"fault: {fault}" for fault in report.faults)]
  if report.faults:
    return [*lines, f"{len(report.faults)} {'fault' if len(report.faults) == 1 else 'faults'}"]
  return [*lines, "no fault: the processes agree" if len(report.processes) > 1 else "no fault: one process"]


def table_lines(rows: list[list[str]]) -> list[str]:
  """Rows of cells in columns, two spaces apart."""
  widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
  return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


__all__ = ["cluster_lines", "table_lines"]
