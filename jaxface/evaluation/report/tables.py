"""The report's tables: recommended thresholds, and all figures before and after."""

from jaxface.evaluation.intervals.rates import size_note, wilson
from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import TARGETS, Verification, l2_squared
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import interval, percent, signed, table


def thresholds_table(after: Verification, heading: str = "Thresholds to ship") -> str:
  """Thresholds with their error rates; the heading is escaped."""
  rows = [
    (
      f"at most {_one_in(name)} falsely accepted",
      [signed(point.threshold), *_l2(after, point.threshold), _rate(after, name), f"{after.roc.nonmated * point.far:,.0f}"],
    )
    for name, point in after.operating.items()
  ]
  rows.append(
    (
      "best accuracy on these pairs",
      [signed(after.threshold), *_l2(after, after.threshold), percent(after.accuracy) + " classified correctly", ""],
    )
  )
  accept = ["Accept at cosine ≥", "or L2² ≤"] if after.score_name == COSINE else [f"Accept at {escape(after.score_name)} ≥"]
  heads = ["Non-mated pairs", *accept, "Mated pairs accepted (95 %)", "False accepts here"]
  note = (
    f"{after.roc.mated:,} mated pairs (one person) and {after.roc.nonmated:,} non-mated pairs (two people). Intervals respect that pairs share"
    " people. " + " ".join(note for note in (size_note(target, after.roc.nonmated) for target in TARGETS.values()) if note)
  )
  return (
    f'<section>\n<h2>{escape(heading)}</h2>\n<div class="card scroll">\n'
    f"{table(note, heads, rows)}\n</div>\n</section>"
  )


def _one_in(target: str) -> str:
  """`1e-3` as `1 in 1,000`."""
  return f"1 in {round(1 / float(target)):,}"


def figures_table(after: Verification, before: Verification | None) -> str:
  """All figures, before and after, and each fold."""
  columns = [one for one in (before, after) if one]
  heads = ["Before training", "After training"] if before else ["Value"]
  rows = [
    ("Accuracy", [f"{percent(one.accuracy)} ± {100 * one.accuracy_se:.2f} {_ends(one.intervals.accuracy)}" for one in columns]),
    ("AUC", [f"{one.auc:.5f} ({one.intervals.auc[0]:.5f} to {one.intervals.auc[1]:.5f})" for one in columns]),
    ("Equal error rate", [f"{percent(one.eer)} {_ends(one.intervals.eer)}" for one in columns]),
  ]
  for name in after.operating:
    rows.append((f"TAR at FAR ≤ {name}", [_rate(one, name) for one in columns]))
    rows.append(
      (f"Threshold for FAR ≤ {name}", [_threshold(one, one.operating[name].threshold) for one in columns])
    )
  rows.append(("Threshold, mean of folds", [_threshold(one, one.threshold) for one in columns]))
  note = (
    f"{after.roc.mated:,} mated and {after.roc.nonmated:,} non-mated pairs; thresholds from "
    f"{after.folds.threshold_from}; 95 % intervals in brackets, over people"
  )
  folds = after.folds
  fold_rows = [
    (str(fold), [f"{pairs:,}", percent(accuracy), _interval(accuracy, int(pairs)), _threshold(after, threshold)])
    for fold, pairs, accuracy, threshold in zip(folds.fold, folds.pairs, folds.accuracy, folds.threshold)
  ]
  return (
    '<section>\n<h2>All figures</h2>\n<div class="card scroll">\n'
    f"{table(note, ['Measure', *heads], rows)}\n</div>\n"
    f'<details class="card"><summary>Every fold</summary>\n<div class="scroll">'
    f"{table('', ['Fold', 'Pairs', 'Accuracy', '95 % interval', 'Threshold'], fold_rows)}</div></details>\n"
    "</section>"
  )


def _rate(one: Verification, name: str) -> str:
  low, high = one.intervals.tar_at_far[name]
  return f"{percent(one.tar_at_far[name])} ({100 * low:.1f} to {100 * high:.1f})"


def _ends(ends: tuple[float, float]) -> str:
  return f"({interval(ends)})"


def _interval(share: float, trials: int) -> str:
  return interval(wilson(round(share * trials), trials))


def _threshold(one: Verification, value: float) -> str:
  return f"cosine {signed(value)} · L2² {signed(l2_squared(value))}" if one.score_name == COSINE else f"{escape(one.score_name)} {signed(value)}"


def _l2(one: Verification, value: float) -> list[str]:
  """The cell of the squared distance, which only cosines have."""
  return [signed(l2_squared(value))] if one.score_name == COSINE else []


__all__ = ["figures_table", "thresholds_table"]
