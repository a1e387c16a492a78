"""`report.html`: one file with the training curves, the figures of one evaluation set, and its hardest pairs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.evaluation.report import charts
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import (
  card,
  document,
  folded,
  percent,
  picture,
  section,
  table,
)
from jaxface.evaluation.report.pictures import hardest
from jaxface.evaluation.report.readout import readout
from jaxface.evaluation.report.run_protocol import protocol_figures, protocol_head
from jaxface.evaluation.report.tables import figures_table, thresholds_table
from jaxface.formats.atomic import write_text

CURVES = {
  "loss": "Loss",
  "learning_rate": "Learning rate",
  "images_per_second": "Images per second",
}
SHOWN_WRONG = 12


@dataclass(frozen=True)
class Report:
  """Contents of a report; all fields except `title` and `after` are optional.

  Attributes:
    title: heading.
    after: figures of the trained (or imported) network: `Verification` of a pair list, or `ProtocolFigures`.
    before: the same before training, of the same kind.
    lead: a sentence or two below the heading.
    command: command line that reproduces the run.
    metrics: rows with `step` and the keys of `curves`; rows without a key are skipped in that curve.
    curves: heading of each curve by its key in the rows.
    config: the experiment's configuration; a mapping or a dataclass, nested or flat.
    environment: versions and machine.
    time: name and seconds of each part of the run's wall time; a line above them in `time_note`.
    faces: (caption, encoded JPEG or PNG) of training faces.
    image_of: returns the encoded JPEG or PNG for a name in the pairs, or None.
  """

  title: str
  after: Verification | ProtocolFigures
  before: Verification | ProtocolFigures | None = None
  lead: str = ""
  command: str = ""
  metrics: Sequence[Mapping[str, Any]] = ()
  curves: Mapping[str, str] = field(default_factory=lambda: dict(CURVES))
  config: Any = None
  environment: Mapping[str, Any] = field(default_factory=dict)
  time: Sequence[tuple[str, float]] = ()
  time_note: str = ""
  faces: Sequence[tuple[str, bytes]] = ()
  image_of: Callable[[str], bytes | None] | None = None


def write_report(path: str | Path, report: Report) -> None:
  """Writes the report, atomically: one HTML file with embedded style, charts, images and a script for the threshold read-out.

  Args:
    path: file to write.
    report: contents.
  """
  after, before = report.after, report.before
  if isinstance(after, ProtocolFigures):
    was = before if isinstance(before, ProtocolFigures) else None
    sections = [
      protocol_head(report.title, report.lead, after, was),
      protocol_figures(after, was),
      _training(report),
      _faces(report),
      _reproduce(report),
    ]
  else:
    earlier = before if isinstance(before, Verification) else None
    sections = [
      _head(report, after, earlier),
      thresholds_table(after),
      _training(report),
      _separation(after, earlier),
      hardest(after, report.image_of or (lambda name: None), SHOWN_WRONG, "The hardest wrong pairs"),
      _faces(report),
      figures_table(after, earlier),
      _reproduce(report),
    ]
  write_text(path, document(report.title, sections))


def flatten(config: Any, prefix: str = "") -> list[tuple[str, str]]:
  """Rows (`data.batch_size`, `128`) of a nested configuration of dataclasses and mappings."""
  if dataclasses.is_dataclass(config) and not isinstance(config, type):
    config = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
  if isinstance(config, Mapping) and config:
    return [
      row
      for key, value in config.items()
      for row in flatten(value, f"{prefix}.{key}" if prefix else str(key))
    ]
  return [(prefix, config if isinstance(config, str) and config else repr(config))]


def _head(report: Report, after: Verification, before: Verification | None) -> str:
  verdict = (
    f"The network classifies <strong>{percent(after.accuracy)}</strong> of {len(after.pairs):,} pairs of photos correctly as the same"
    " or different people"
    + (f", compared with {percent(before.accuracy)} before training." if before else ".")
  )
  lead = f'<p class="soft">{escape(report.lead)}</p>' if report.lead else ""
  legend = "Each bar shows its figure on a scale from 0 to 1" + (
    "; the vertical mark is the figure before training." if before else "."
  )
  return (
    f'<header>\n<h1>{escape(report.title)}</h1>\n<p class="lead">{verdict}</p>\n{lead}</header>\n'
    f'<div class="figures">\n{_figures(after, before)}\n</div>\n<p class="soft legend">{legend}</p>'
  )


def _figures(after: Verification, before: Verification | None) -> str:
  low, high = after.intervals.tar_at_far["1e-2"]
  cards = [
    _figure(
      "AUC",
      f"{after.auc:.4f}",
      "the probability that a mated pair outscores a non-mated one",
      after.auc,
      before.auc if before else None,
      "{:.4f}",
    ),
    _figure(
      "Accuracy",
      f"{100 * after.accuracy:.2f} <small>% ± {100 * after.accuracy_se:.2f}</small>",
      f"{len(after.folds.fold)} folds, ± standard error"
      if len(after.folds.fold) > 1
      else "one fold, ± standard error",
      after.accuracy,
      before.accuracy if before else None,
      "{:.2%}",
    ),
    _figure(
      "Equal error rate",
      f"{100 * after.eer:.2f} <small>%</small>",
      "share of mated pairs rejected and of non-mated pairs accepted where both are equal; lower is better",
      after.eer,
      before.eer if before else None,
      "{:.2%}",
    ),
    _figure(
      "TAR at FAR 1 %",
      f"{100 * after.tar_at_far['1e-2']:.1f} <small>%</small>",
      f"95 % interval {100 * low:.1f} to {100 * high:.1f}",
      after.tar_at_far["1e-2"],
      before.tar_at_far["1e-2"] if before else None,
      "{:.1%}",
    ),
  ]
  return "\n".join(cards)


def _figure(name: str, value: str, note: str, share: float, before: float | None, form: str) -> str:
  mark = f'<b style="left:{100 * before:.1f}%"></b>' if before is not None else ""
  was = f"before training {form.format(before).replace('%', '&nbsp;%')}<br>" if before is not None else ""
  return (
    f'<section class="card"><h3>{name}</h3><div class="value">{value}</div>'
    f'<div class="gauge" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i>{mark}</div>'
    f'<div class="note">{was}{note}</div></section>'
  )


def _training(report: Report) -> str:
  drawn = [(title, charts.curve(report.metrics, key, title)) for key, title in report.curves.items()]
  cards = [card(title, drawing) for title, drawing in drawn if drawing]
  curves = section("Training", "", cards, three=len(cards) % 3 == 0) if cards else ""
  return f"{curves}\n{_time(report)}".strip()


def _time(report: Report) -> str:
  if not report.time:
    return ""
  whole = max(sum(seconds for _, seconds in report.time), 1e-9)
  rows = [(name, [f"{seconds:,.0f}", percent(seconds / whole)]) for name, seconds in report.time]
  heads = ["Time since the first start", "Seconds", "Share"]
  return f'<section>\n<h2>Where the time went</h2>\n<div class="card scroll">\n{table(escape(report.time_note), heads, rows)}\n</div>\n</section>'


def _separation(after: Verification, before: Verification | None) -> str:
  low, high = charts.score_range([one for one in (before, after) if one])
  named = [("after training" if before else "", after), *([("before training", before)] if before else [])]
  cards = [
    card("Similarity after training" if before else "Similarity", charts.similarity(after, low, high)),
    *([card("Similarity before training", charts.similarity(before, low, high, "the untrained network"))] if before else []),
    card("ROC", charts.roc_chart(named, log=False)),
    card("ROC, logarithmic FAR", charts.roc_chart(named, log=True)),
    card("DET", charts.det_chart(named)),
  ]
  text = (
    "Similarity is the cosine of two embeddings. Less overlap of the two histograms is better; the dashed line is the"
    " threshold. Each chart has its own vertical scale. The ROC shows, for every threshold, the share of mated pairs"
    " accepted (TAR) against the share of non-mated pairs accepted (FAR); the DET shows both error rates on"
    " normal-deviate axes."
  )
  body = section("Separation of mated and non-mated pairs", text, [readout(named, 0), *cards])
  return body.replace("<section>", '<section class="list">', 1)


def _faces(report: Report) -> str:
  if not report.faces:
    return ""
  faces = "\n".join(picture(caption, data) for caption, data in report.faces)
  return f'<section>\n<h2>Training images</h2>\n<div class="faces">\n{faces}\n</div>\n</section>'


def _reproduce(report: Report) -> str:
  parts = []
  if report.command:
    parts.append(f"<p>Command:</p>\n<pre><code>{escape(report.command)}</code></pre>")
  if report.config is not None:
    rows = [(key, [f"<code>{escape(value)}</code>"]) for key, value in flatten(report.config)]
    parts.append(folded("Configuration", table("", ["Field", "Value"], rows, numbers=False)))
  if report.environment:
    rows = [(key, [escape(value)]) for key, value in flatten(report.environment)]
    parts.append(folded("Versions and machine", table("", ["What", "Value"], rows, numbers=False)))
  return "<section>\n<h2>How to reproduce this</h2>\n" + "\n".join(parts) + "\n</section>" if parts else ""


__all__ = ["CURVES", "Report", "flatten", "write_report"]
