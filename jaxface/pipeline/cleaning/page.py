"""The report page of a stage: its figures, and the images that it proposes to leave out or to move, beside ones that stay."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, pair_card, picture, table
from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.formats.leave_out import Proposal
from jaxface.pipeline.cleaning.state import Cleaning, StageResult

# Proposals with pictures on a page, which embeds them.
SHOWN = 200

# Images beside a proposal, such as one that stays of the same person: rows, each with a word for the caption.
Beside = Callable[[Proposal], Sequence[int]]


def write_stage_page(path: Path, cleaning: Cleaning, result: StageResult, *, title: str, text: str, beside: Beside) -> None:
  """One self-contained HTML file.

  Args:
    path: file to write, atomically.
    cleaning: of the images.
    result: of the stage.
    title: of the page.
    text: one or two sentences on what the stage does.
    beside: rows of the images to show beside a proposal.
  """
  row_of = {image.path: row for row, image in enumerate(cleaning.source.images)}
  rows = [("images looked at", [f"{result.images:,}"]), ("people", [f"{result.people:,}"])]
  rows += [(name, [f"{count:,}"]) for name, count in result.counts.items()]
  rows += [("proposals", [f"{len(result.proposals):,}"]), ("of them in the list", [f"{len(result.accepted):,}"])]
  parts = [
    f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(text)}</p>\n</header>',
    f'<section>\n<div class="card scroll">{table("", ["", "number"], rows)}</div>\n</section>',
    "".join(f'<p class="soft">{escape(note)}</p>' for note in result.notes),
  ]
  cards = [
    pair_card(
      [(_name(cleaning, row), picture_of(cleaning, row)) for row in (row_of[one.path], *beside(one))],
      f"<b>{one.probability:.3f}</b> {escape(one.action)} {escape(one.identity)}<br>{escape(one.reason)}",
    )
    for one in result.proposals[:SHOWN]
  ]
  if cards:
    shown = f"The surest {SHOWN} of {len(result.proposals):,}. " if len(result.proposals) > SHOWN else ""
    parts.append(
      f'<section>\n<h2>Proposals</h2>\n<p class="soft">{shown}The first picture of each is the one in question; the number is the probability'
      f' that the proposal is right. Those from {result.accept:g} are in the list.</p>\n<div class="pairs">\n' + "\n".join(cards) + "\n</div>\n</section>"
    )
  write_text(path, document(title, parts))


def _name(cleaning: Cleaning, row: int) -> str:
  return cleaning.source.images[row].path


def picture_of(cleaning: Cleaning, row: int) -> bytes | None:
  """An image as JPEG; None if it cannot be read."""
  try:
    return encode_jpeg(cleaning.image(row), quality=85)
  except DamagedData:
    return None


__all__ = ["SHOWN", "picture", "picture_of", "write_stage_page"]
