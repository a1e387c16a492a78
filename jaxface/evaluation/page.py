"""HTML elements of a page: sections, cards, tables, pictures and numbers."""

import base64
from collections.abc import Sequence

from jaxface.evaluation.svg import escape


def section(heading: str, text: str, cards: Sequence[str]) -> str:
  words = f'<p class="soft">{text}</p>\n' if text else ""
  grid = "charts three" if len(cards) % 3 == 0 else "charts"
  return (
    f'<section>\n<h2>{heading}</h2>\n{words}<div class="{grid}">\n'
    + "\n".join(cards)
    + "\n</div>\n</section>"
  )


def card(title: str, drawing: str) -> str:
  return f'<div class="card"><h3>{escape(title)}</h3>{drawing}</div>'


def folded(summary: str, content: str) -> str:
  return f'<details class="card"><summary>{summary}</summary>\n<div class="scroll">{content}</div></details>'


def table(
  caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], numbers: bool = True
) -> str:
  """A table whose cells are HTML; row names are escaped."""
  kind = ' class="number"' if numbers else ""
  top = f'<th scope="col">{heads[0]}</th>' + "".join(
    f'<th scope="col"{kind}>{head}</th>' for head in heads[1:]
  )
  body = "\n".join(
    f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td{kind}>{cell}</td>" for cell in cells) + "</tr>"
    for name, cells in rows
  )
  words = f"<caption>{caption}</caption>" if caption else ""
  return f"<table>{words}<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def picture(name: str, data: bytes | None) -> str:
  if not data:
    return '<div class="absent">no image</div>'
  kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
  return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def percent(share: float) -> str:
  return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
  return f"{value:.3f}".replace("-", "−")


__all__ = ["card", "folded", "percent", "picture", "section", "signed", "table"]
