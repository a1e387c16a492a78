"""The hardest false accepts and false rejects of a pair list, as pictures."""

from collections.abc import Callable

from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import folded, pair_card, signed, table

ImageOf = Callable[[str], bytes | None]


def hardest(one: Verification, image_of: ImageOf | None, count: int, heading: str) -> str:
  """A section with the misclassified pairs farthest from the threshold, worst first.

  Args:
    one: the verification.
    image_of: returns the encoded JPEG or PNG of a name, or None; None gives a table of names without pictures.
    count: number of pairs of each kind.
    heading: of the section; it is escaped.
  """
  wrong = int(((one.score_p >= one.threshold_p) != one.pairs.same).sum())
  top = f"<section>\n<h2>{escape(heading)}</h2>\n"
  if not wrong:
    return f"{top}<p>None: all {len(one.pairs):,} pairs are classified correctly.</p>\n</section>"
  parts = [f'{top}<p class="soft">{wrong:,} of {len(one.pairs):,} pairs are classified wrongly, each at the threshold of its fold ({escape(one.score_name)}).</p>']
  for same, what in ((False, "Different people, accepted"), (True, "Same person, rejected")):
    pairs = one.hardest(count, same=same)
    if not pairs:
      continue
    if image_of is None:
      rows = [(one.pairs.left[pair], [escape(one.pairs.right[pair]), _decision(one, pair)]) for pair in pairs]
      parts.append(folded(f"{what}: the hardest {len(pairs)}", table("", ["First image", "Second image", "Cosine and threshold" if one.score_name == COSINE else f"{escape(one.score_name)} and threshold"], rows, numbers=False)))
    else:
      cards = [_card(one, image_of, pair) for pair in pairs]
      parts.append(f'<h3>{what}</h3>\n<div class="pairs">\n' + "\n".join(cards) + "\n</div>")
  return "\n".join([*parts, "</section>"])


def _card(one: Verification, image_of: ImageOf, pair: int) -> str:
  names = one.pairs.left[pair], one.pairs.right[pair]
  return pair_card([(name, image_of(name)) for name in names], _decision(one, pair))


def _decision(one: Verification, pair: int) -> str:
  sign = "≥" if one.score_p[pair] >= one.threshold_p[pair] else "&lt;"
  return f"<b>{signed(one.score_p[pair])}</b> {sign} {signed(one.threshold_p[pair])}"


__all__ = ["hardest"]
