"""The page of `jaxface report`: one self-contained HTML file of a `Study`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.report import charts
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import card, document, folded, interval, percent, section, table
from jaxface.evaluation.report.pictures import hardest
from jaxface.evaluation.report.protocol_tables import has_distractors, has_groups, protocol_tables
from jaxface.evaluation.report.readout import readout
from jaxface.evaluation.report.slices_page import slices_section
from jaxface.evaluation.report.study import ListOfPairs, Study
from jaxface.evaluation.report.sweep_page import figure_label, sweeps_sections
from jaxface.evaluation.report.tables import thresholds_table
from jaxface.formats.atomic import write_text

SHOWN_WRONG = 12  # hardest pairs of each kind, over all models of a list


def write_study(path: str | Path, study: Study) -> None:
  """Writes the page, atomically: one HTML file that loads nothing from elsewhere.

  Args:
    path: file to write.
    study: what it shows.
  """
  parts = [
    _head(study),
    _summary(study),
    *(_list(study, one, number) for number, one in enumerate(study.lists)),
    identification_section(study),
    *protocol_tables(study.named),
    _comparisons(study),
    *(slices_section(one) for one in study.slices),
    *sweeps_sections(study.sweeps),
    other_figures(study),
    _reproduce(study),
  ]
  write_text(path, document(study.heading, parts))


def _head(study: Study) -> str:
  lists = list(dict.fromkeys(where for where, _, _ in study.named))
  count = len(study.evaluations)
  parts = [f"{count} evaluation{'s' if count != 1 else ''} on {', '.join(map(escape, lists))}"] if count else []
  parts += [f"{len(many)} {what}{'s' if len(many) != 1 else ''}" for what, many in (("sweep", study.sweeps), ("table by group", study.slices)) if many]
  return f'<header>\n<h1>{escape(study.heading)}</h1>\n<p class="lead">{"; ".join(parts)}.</p>\n</header>'


def _summary(study: Study) -> str:
  """One row for each model and list, with 95 % intervals."""
  rows = []
  for one in study.lists:
    for name, found in one.models:
      near = found.intervals
      last = list(found.tar_at_far)[-2:]
      rows.append((name, [
        escape(one.name), f"{len(found.pairs):,}",
        _with(percent(found.accuracy), interval(near.accuracy)), _with(f"{found.auc:.5f}", f"{near.auc[0]:.5f} to {near.auc[1]:.5f}"),
        _with(percent(found.eer), interval(near.eer)),
        *(_with(percent(found.tar_at_far[target]), interval(near.tar_at_far[target])) for target in last),
      ]))
  if not rows:
    return ""
  targets = [f"TAR at FAR ≤ {target}" for target in last]
  heads = ["Model", "List", "Pairs", "Accuracy (%)", "AUC", "Equal error rate (%)", *(f"{target} (%)" for target in targets)]
  note = "Small numbers are 95 % intervals over people. Accuracy is the mean over folds, each at the threshold of the others."
  return f'<section>\n<h2>Summary</h2>\n<div class="card scroll">\n{table(note, heads, rows)}\n</div>\n</section>'


def _with(value: str, ends: str) -> str:
  return f'{value}<br><small class="soft">{ends}</small>'


def _list(study: Study, one: ListOfPairs, number: int) -> str:
  """Curves, read-out, thresholds and hardest pairs of one list."""
  # Different scores have no common scale: each histogram has a range of its own, and no threshold applies to all.
  alike = len({found.score_name for _, found in one.models}) == 1
  ranges = [charts.score_range([other for _, other in one.models] if alike else [found]) for _, found in one.models]
  several = len(one.models) > 1
  cards = [
    *(
      card(f"Similarity: {name}" if several else "Similarity", charts.similarity(found, *ends, name, link=alike))
      for ends, (name, found) in zip(ranges, one.models)
    ),
    card("ROC", charts.roc_chart(one.models, log=False, link=alike)),
    card("ROC, logarithmic FAR", charts.roc_chart(one.models, log=True, link=alike)),
    card("DET, normal-deviate axes", charts.det_chart(one.models)),
  ]
  first = one.models[0][1]
  text = (
    f"{first.roc.mated:,} mated pairs (one person) and {first.roc.nonmated:,} non-mated pairs (two people). The dashed line in a histogram is"
    " the threshold of the best accuracy. A curve shows every threshold; the points on it are at that of the table of rates."
  )
  if alike:
    body = section(f"Verification: {escape(one.name)}", text, [readout(one.models, number), *cards]).replace("<section>", '<section class="list">', 1)
  else:
    text += " The models have different scores, so that no threshold applies to all of them: their tables are below."
    body = section(f"Verification: {escape(one.name)}", text, cards)
  parts = [body]
  for name, found in one.models:
    heading = f"Thresholds to ship: {name}, {one.name}" if several or len(study.lists) > 1 else "Thresholds to ship"
    parts.append(thresholds_table(found, heading))
  each = max(3, SHOWN_WRONG // len(one.models))
  parts += [_wrong(found, study.image_of, f": {name}, {one.name}" if several or len(study.lists) > 1 else "", each) for name, found in one.models]
  return "\n".join(parts)


def _wrong(found: Verification, image_of: Callable[[str], bytes | None] | None, of: str, count: int) -> str:
  return hardest(found, image_of, count, f"The hardest wrong pairs{of}")


def identification_section(study: Study) -> str:
  """CMC and rates of the searches (1:N); "" if there are none."""
  rows = []
  for row in study.figures["identification"]:
    ranks = [_with(percent(rate["value"]), interval(rate["interval"])) for rate in row["rank"].values()]
    opened = [_with(percent(rate["value"]), interval(rate["interval"])) for rate in row["tpir_at_fpir"].values()] or ["–", "–"]
    rows.append((row["model"], [escape(f"{row['list']}, {row['gallery']}"), f"{row['mated_probes']:,}", f"{row['nonmated_probes']:,}", *ranks, *opened]))
  if not rows:
    return ""
  heads = ["Model", "Gallery", "Mated probes", "Non-mated probes", *(f"Rank {rank} (%)" for rank in (1, 5, 10, 20)),
           *(f"TPIR at FPIR ≤ {target} (%)" for target in (0.1, 0.01))]
  several = len({where for where, _, _, _ in study.searches}) > 1
  named = [(f"{name}, {f'{where}, ' if several else ''}{gallery}", found) for where, name, gallery, found in study.searches]
  note = "Share of mated probes whose mate is within the rank; ties count against the mate. Small numbers are 95 % intervals over people."
  cards = [card("Cumulative match characteristic (CMC)", charts.cmc_chart(named))]
  if open_sets := [(name, found) for name, found in named if not found.mated.all()]:
    cards.append(card("Open set: TPIR over FPIR, mates of rank 1", charts.open_set_chart(open_sets)))
  return (
    section("Identification", "", cards)
    + f'\n<div class="card scroll">\n{table(note, heads, rows)}\n</div>'
  )


def _comparisons(study: Study) -> str:
  """A row for each two models of a list: differences with paired intervals and probabilities."""
  found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
  for row in study.figures["comparisons"]:
    found.setdefault((row["list"], row["first"], row["second"]), []).append(row)
  if not found:
    return ""
  # Models of one kind of list have one table: the same figures.
  tables: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
  for (where, first, second), ours in found.items():
    cells = [_with(f"{100 * one['value']:+.2f}".replace("-", "−"), f"{interval(one['interval'])}<br>{_probability(one)}") for one in ours]
    tables.setdefault(tuple(one["figure"] for one in ours), []).append((f"{second} − {first}", [escape(where), *cells]))
  corrected = any("p_holm" in row for row in study.figures["comparisons"])
  holm_note = (
    " Where a list has more than two models, p is also given with Holm's correction for the comparisons of the models of the list, for each"
    " figure by itself; it is not corrected for the number of figures."
  )
  note = (
    "Differences on the same pairs, in % points, with 95 % intervals and two-sided probabilities p by paired tests over people: both models see the same"
    " people, so the interval of a difference is narrower than those of the figures suggest."
    + (holm_note if corrected else " p is not corrected for the number of figures.")
  )
  cards = "\n".join(
    f'<div class="card scroll">\n{table("" if at else note, ["Models", "List", *(escape(figure_label(figure)) for figure in figures)], rows)}\n</div>'
    for at, (figures, rows) in enumerate(tables.items())
  )
  return f"<section>\n<h2>Models compared</h2>\n{cards}\n</section>"


def _probability(one: Mapping[str, Any]) -> str:
  return f"p = {one['p']:.3g}" + (f", Holm {one['p_holm']:.3g}" if "p_holm" in one else "")


def other_figures(study: Study) -> str:
  """The lines of protocols that are neither one pair list nor a search."""
  parts = [
    f"<h3>{escape(name)}, {escape(where)}</h3>\n<pre>{escape(one)}</pre>" for where, name, one in study.named
    if not (isinstance(one, Evaluation) and one.verification) and not getattr(one, "searches", None)
    and not has_distractors(one) and not has_groups(one)
  ]
  return "<section>\n<h2>Other figures</h2>\n" + "\n".join(parts) + "\n</section>" if parts else ""


def _reproduce(study: Study) -> str:
  parts = []
  notes = [f"<li>{escape(f'{where}, {name}: {note}')}</li>" for where, name, one in study.named for note in one.notes]
  if notes:
    parts.append("<ul>\n" + "\n".join(notes) + "\n</ul>")
  if study.command:
    parts.append(f"<p>Command:</p>\n<pre><code>{escape(study.command)}</code></pre>")
  rows = [
    (name, [escape(where), "<br>".join(f"{escape(key)}: <code>{escape(value)}</code>" for key, value in one.meta.items() if key != "unreadable")])
    for where, name, one in study.named if one.meta
  ]
  if rows:
    parts.append(folded("How the embeddings were made", table("", ["Model", "List", "Settings"], rows, numbers=False)))
  if study.environment:
    rows = [(key, [escape(value)]) for key, value in study.environment.items()]
    parts.append(folded("Versions and machine", table("", ["What", "Value"], rows, numbers=False)))
  return "<section>\n<h2>Notes, and how to reproduce this</h2>\n" + "\n".join(parts) + "\n</section>" if parts else ""


__all__ = ["identification_section", "other_figures", "write_study"]
