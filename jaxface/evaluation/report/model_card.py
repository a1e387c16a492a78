"""A model card in Markdown: the model, its data and terms, figures with intervals, thresholds, limits, and how to reproduce them.

Source of the sections: Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.evaluation.intervals.rates import size_note
from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import TARGETS, l2_squared
from jaxface.evaluation.report.page import interval
from jaxface.evaluation.report.study import Study
from jaxface.evaluation.report.sweep_file import figure_of, interval_of, names_of
from jaxface.formats.atomic import write_text

UNKNOWN = "unknown"
ABOUT = {
  "model": "Network", "parameters": "Parameters", "preprocess": "Input convention", "template": "Alignment template of the images",
  "mirror": "Mirror image", "crops": "Crops of each face", "raw": "Raw output (not scaled to length one)",
}


def write_model_card(path: str | Path, study: Study) -> None:
  """Writes the card, atomically.

  Args:
    path: Markdown file to write.
    study: the evaluations; its models share the card.
  """
  write_text(path, model_card(study))


def model_card(study: Study) -> str:
  """The card as Markdown."""
  parts = [
    f"# Model card: {_plain(study.heading)}", _models(study), _terms(study), _verification(study), _thresholds(study), _identification(study),
    _compared(study), *map(_slices, study.slices), *map(_sweep, study.sweeps), _limits(study), _reproduce(study),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def _models(study: Study) -> str:
  metas = _metas(study)
  rows = [[label, *(_value(meta.get(key)) for meta in metas.values())] for key, label in ABOUT.items() if any(key in meta for meta in metas.values())]
  return "## Model\n\n" + _table(["", *metas], rows) if rows else ""


def _terms(study: Study) -> str:
  metas = _metas(study)
  rows = [[what, *(_value(meta.get(key)) for meta in metas.values())] for key, what in (("licence", "Licences of images and weights"), ("origin", "Origin"))]
  lists = [
    f"- {_plain(one.name)}: {one.models[0][1].roc.mated:,} mated and {one.models[0][1].roc.nonmated:,} non-mated pairs"
    f" (file `{_plain(Path(one.models[0][1].pairs.file).name or 'made in memory')}`)" for one in study.lists
  ]
  words = "“unknown” means that nobody recorded it: ask the author of the weights before use.\n"
  return "## Data and terms\n\n" + words + "\n" + _table(["", *metas], rows) + ("\n\nEvaluated on:\n\n" + "\n".join(lists) if lists else "")


def _verification(study: Study) -> str:
  rows = []
  for one in study.lists:
    for name, found in one.models:
      near = found.intervals
      rows.append([
        name, one.name, f"{_percent(found.accuracy)} ± {100 * found.accuracy_se:.2f} ({interval(near.accuracy)})",
        f"{found.auc:.5f} ({near.auc[0]:.5f} to {near.auc[1]:.5f})", f"{_percent(found.eer)} ({interval(near.eer)})",
        *(f"{_percent(found.tar_at_far[target])} ({interval(near.tar_at_far[target])})" for target in TARGETS),
      ])
  if not rows:
    return ""
  heads = ["Model", "List", "Accuracy (%)", "AUC", "EER (%)", *(f"TAR at FAR ≤ {target} (%)" for target in TARGETS)]
  return "## Verification (1:1)\n\nIn brackets: 95 % intervals over people; ±: standard error over folds.\n\n" + _table(heads, rows)


def _thresholds(study: Study) -> str:
  rows = []
  plain = all(found.score_name == COSINE for one in study.lists for _, found in one.models)
  for one in study.lists:
    for name, found in one.models:
      l2 = l2_squared if found.score_name == COSINE else None
      points = [("best accuracy", found.at(found.threshold)), *((f"FAR ≤ {target}", point) for target, point in found.operating.items())]
      rows += [
        [name, one.name, what, *([] if plain else [found.score_name]), f"{point.threshold:.4f}", f"{l2(point.threshold):.4f}" if l2 else "–", _percent(point.far), _percent(point.tar)]
        for what, point in points
      ]
  if not rows:
    return ""
  heads = ["Model", "List", "Chosen for", *(["Accept at cosine ≥"] if plain else ["Score", "Accept at ≥"]), "or L2² ≤", "FAR (%)", "TAR (%)"]
  return "## Thresholds\n\nRates are those of the list itself. Check a threshold on pairs of your own before use.\n\n" + _table(heads, rows)


def _identification(study: Study) -> str:
  rows = [
    [row["model"], f"{row['list']}, {row['gallery']}", f"{row['mated_probes']:,}", *_rates(row["rank"].values()), *(_rates(row["tpir_at_fpir"].values()) or ["–", "–"])]
    for row in study.figures["identification"]
  ]
  heads = ["Model", "Gallery", "Mated probes", *(f"Rank {rank} (%)" for rank in (1, 5, 10, 20)), "TPIR at FPIR ≤ 0.1 (%)", "TPIR at FPIR ≤ 0.01 (%)"]
  return "## Identification (1:N)\n\n" + _table(heads, rows) if rows else ""


def _rates(rates: Iterable[Mapping[str, Any]]) -> list[str]:
  return [f"{_percent(rate['value'])} ({interval(rate['interval'])})" for rate in rates]


def _compared(study: Study) -> str:
  rows = [
    [row["list"], f"{row['second']} − {row['first']}", row["figure"], f"{100 * row['value']:+.2f} ({interval(row['interval'])})".replace("-", "−"), f"{row['p']:.3g}", f"{row['p_holm']:.3g}" if "p_holm" in row else "–"]
    for row in study.figures["comparisons"]
  ]
  heads = ["List", "Models", "Figure", "Difference (% points)", "p", "p (Holm)"]
  return "## Models compared\n\nPaired tests over people. Holm: corrected for the comparisons of more than two models.\n\n" + _table(heads, rows) if rows else ""


def _slices(one: Mapping[str, Any]) -> str:
  names = names_of(one["groups"])
  rows = [[str(row["group"]), _value(row.get("pairs")), *_figures(row, names)] for row in one["groups"]]
  return f"## By {_plain(one['column'])}\n\n" + _table([one["column"], "Pairs", *(f"{name} (%)" for name in names)], rows)


def _sweep(one: Mapping[str, Any]) -> str:
  rows, names = one["rows"], names_of(one["rows"])
  what = one.get("what") or one["axis"]
  cells = [["unchanged" if row["value"] is None else f"{row['value']}", *_figures(row, names)] for row in rows]
  return f"## {_plain(what)}\n\n" + _table([what, *(f"{name} (%)" for name in names)], cells)


def _figures(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
  cells = []
  for name in names:
    share, ends = figure_of(row, name), interval_of(row, name)
    cells.append("–" if share is None else _percent(share) + (f" ({interval(ends)})" if ends else ""))
  return cells


def _limits(study: Study) -> str:
  lines = [f"- {_plain(where)}, {_plain(name)}: {_plain(note)}" for where, name, one in study.named for note in one.notes]
  for one in study.lists:
    lines += [f"- {_plain(one.name)}: {note}" for note in (size_note(target, one.models[0][1].roc.nonmated) for target in TARGETS.values()) if note]
  if not study.slices:
    lines.append("- No figures by group of people were made (`jaxface report --slices`): whether errors differ between groups is unknown.")
  return "## Limits\n\n" + "\n".join(dict.fromkeys(lines))


def _reproduce(study: Study) -> str:
  return f"## How to reproduce\n\n```\n{study.command}\n```" if study.command else ""


def _metas(study: Study) -> dict[str, Mapping[str, Any]]:
  """Settings of each model by name, from its first evaluation."""
  found: dict[str, Mapping[str, Any]] = {}
  for _, name, one in study.named:
    found.setdefault(name, one.meta)
  return found


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [heads, ["---"] * len(heads), *rows]
  return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: object) -> str:
  """Text that Markdown shows as it is: on one line, without HTML and table borders."""
  line = " ".join(str(text).split())
  for mark, shown in (("\\", "\\\\"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("`", "\\`")):
    line = line.replace(mark, shown)
  return line


def _percent(share: float) -> str:
  return f"{100 * share:.2f}"


def _value(value: Any) -> str:
  if value is None or value == "":
    return UNKNOWN
  if isinstance(value, bool):
    return "yes" if value else "no"
  return f"{value:,}" if isinstance(value, int) else str(value)


__all__ = ["model_card", "write_model_card"]
