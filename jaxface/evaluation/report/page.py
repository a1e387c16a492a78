"""HTML elements of a page: sections, cards, tables, pictures and numbers."""

import base64
from collections.abc import Sequence
from importlib import resources

from jaxface.evaluation.report.drawing import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def document(title: str, parts: Sequence[str]) -> str:
  """A self-contained page: embedded style and script; its policy lets the browser load nothing from elsewhere.

  Args:
    title: of the window; it is escaped.
    parts: HTML elements of the body; empty ones are left out.
  """
  style, script = (_file(name) for name in ("report.css", "report.js"))
  body = "\n".join(part for part in parts if part)
  live = f"<script>\n{script}</script>\n" if "<svg" in body or "<details" in body else ""
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark">\n'
    f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n{live}</body>\n</html>\n"
  )


def _file(name: str) -> str:
  return resources.files("jaxface.evaluation.report").joinpath(name).read_text(encoding="utf-8")


def pair_card(pictures: Sequence[tuple[str, bytes | None]], caption: str) -> str:
  """Two named pictures side by side.

  Args:
    pictures: name, and encoded JPEG or PNG, of each.
    caption: HTML above the names.
  """
  two = "".join(picture(name, data) for name, data in pictures)
  labels = "".join(f'<span title="{escape(name)}">{escape(name.rsplit("/", 1)[-1])}</span>' for name, _ in pictures)
  return f'<figure class="card"><div class="two">{two}</div><figcaption>{caption}{labels}</figcaption></figure>'


def section(heading: str, text: str, cards: Sequence[str], *, three: bool = False) -> str:
  """A heading, an explanation and cards in two or three columns."""
  words = f'<p class="soft">{text}</p>\n' if text else ""
  grid = "charts three" if three else "charts"
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
  """A table whose cells are HTML, below its caption; row names are escaped."""
  kind = ' class="number"' if numbers else ""
  top = f'<th scope="col">{heads[0]}</th>' + "".join(
    f'<th scope="col"{kind}>{head}</th>' for head in heads[1:]
  )
  body = "\n".join(
    f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td{kind}>{cell}</td>" for cell in cells) + "</tr>"
    for name, cells in rows
  )
  words = f'<p class="note">{caption}</p>' if caption else ""  # not a <caption>, which is as wide as the table on a narrow screen
  return f"{words}<table><thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def picture(name: str, data: bytes | None) -> str:
  if not data:
    return '<div class="absent">no image</div>'
  kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
  return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def percent(share: float) -> str:
  return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def interval(ends: Sequence[float], digits: int = 2) -> str:
  """The ends of an interval of a share, in per cent."""
  return f"{100 * ends[0]:.{digits}f} to {100 * ends[1]:.{digits}f}".replace("-", "−")


def signed(value: float) -> str:
  return f"{value:.3f}".replace("-", "−")


__all__ = ["card", "document", "folded", "interval", "pair_card", "percent", "picture", "section", "signed", "table"]
