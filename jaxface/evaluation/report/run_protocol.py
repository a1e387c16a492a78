"""The parts of a run's report that show a protocol which is not one pair list."""

from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.protocols.logged import logged_figures, score_name
from jaxface.evaluation.protocols.saved import protocol_of
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import percent, table
from jaxface.evaluation.report.protocol_tables import protocol_tables
from jaxface.evaluation.report.study import Study
from jaxface.evaluation.report.study_page import identification_section, other_figures


def protocol_head(title: str, lead: str, after: ProtocolFigures, before: ProtocolFigures | None) -> str:
  """Heading and main figure.

  Args:
    title, lead: of the report; they are escaped.
    after: figures of the trained network.
    before: of the network before training, or None.
  """
  protocol = protocol_of(after)
  name = score_name(protocol)
  value, was = (logged_figures(one).get(name) if one else None for one in (after, before))
  verdict = f"Protocol {escape(protocol)}"
  if value is not None:
    verdict += f": {escape(name)} <strong>{percent(value)}</strong>" + ("" if was is None else f", compared with {percent(was)} before training")
  soft = f'<p class="soft">{escape(lead)}</p>' if lead else ""
  return f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{verdict}.</p>\n{soft}</header>'


def protocol_figures(after: ProtocolFigures, before: ProtocolFigures | None) -> str:
  """A table of the figures that the run logs, its searches and tables, or what the protocol prints, and its notes.

  Args:
    after: figures of the trained network.
    before: of the network before training, or None.
  """
  columns = [logged_figures(one) for one in (before, after) if one]
  heads = ["Figure", *(["Before training", "After training"] if before else ["Value"])]
  rows = [(key, [f"{one[key]:.5f}" if key in one else "–" for one in columns]) for key in columns[-1]]
  study = Study("", [(name, one) for name, one in (("after training", after), ("before training", before)) if one])
  notes = "".join(f"<li>{escape(note)}</li>" for note in after.notes)
  parts = [
    f'<section>\n<h2>Figures</h2>\n<div class="card scroll">\n{table("", heads, rows)}\n</div>\n</section>',
    identification_section(study),
    *protocol_tables(study.named),
    other_figures(study),
    f"<section>\n<h2>Notes</h2>\n<ul>{notes}</ul>\n</section>" if notes else "",
  ]
  return "\n".join(part for part in parts if part)


__all__ = ["protocol_figures", "protocol_head"]
