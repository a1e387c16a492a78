"""Supports docstrings in plain text with Markdown's backticks.

Sphinx reads docstrings as reStructuredText, where `*`, `|` and a final `_` have meanings that formulas and names such as
`embedding_bd` or |x| do not intend. Outside of backticks they are escaped here; `dotted.name` becomes a reference where
Sphinx knows the name, any other text between backticks is shown as code, and indented lines that follow a blank line or
a colon are shown as they are.
"""

import re
from typing import Any

_CODE = re.compile(r"(```.*?```|``.*?``|`[^`]+`)", re.DOTALL)
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Warning):$")


def convert(lines: list[str]) -> list[str]:
  """The docstring's lines as reStructuredText."""
  return _blocks(_items(_inline("\n".join(lines)).split("\n")))


def _inline(text: str) -> str:
  parts = _CODE.split(text)
  out = []
  for part, after in zip(parts, [*parts[1:], ""]):
    if part.startswith("```"):
      out.append(part)
    elif part.startswith("`"):
      code = " ".join(part.strip("`").split())
      out.append(f":py:obj:`{code}`" if _DOTTED.fullmatch(code) else f"``{code}``")
      # Inline markup ends only before white space or punctuation: `Term`s is written with an empty escape between.
      if re.match(r"\w", after):
        out.append("\\ ")
    else:
      out.append(re.sub(r"([*|\\])|(?<=\w)(_)(?!\w)", lambda found: "\\" + found.group(0), part))
  return "".join(out)


def _items(lines: list[str]) -> list[str]:
  """`name: text` with its next line indented is one item of a list; lists are set off by blank lines."""
  out: list[str] = []
  section = item = False
  for line, after in zip(lines, [*lines[1:], ""]):
    if line and not line.startswith(" "):
      section = bool(_SECTION.match(line))
      hanging = after.startswith("  ") and not line.endswith(":")
      named = not section and bool(re.match(r"[a-z]\S*: \S", line)) and (hanging or item)
      bullet = named or line.startswith("- ")
      if bullet != item and out and out[-1]:
        out.append("")
      out.append(f"- {line}" if named else line)
      item = bullet
    else:
      item = item and bool(line)
      out.append(line)
  return out


def _blocks(lines: list[str]) -> list[str]:
  """Fences and blocks indented more than the text around them become literal blocks; sections are left to napoleon."""
  out: list[str] = []
  section = literal = fence = False
  for index, line in enumerate(lines):
    if line.strip().startswith("```"):
      fence = not fence
      out += ["", "::", ""] if fence else [""]
      continue
    if fence:
      out.append("  " + line)
      continue
    indented = line.startswith("  ")
    if line and not indented:
      if literal:
        out.append("")
      literal, section = False, bool(_SECTION.match(line))
    elif indented and not section and not literal:
      before = lines[index - 1].strip() if index else ""
      if not before or before.endswith(":"):
        literal = True
        out += ["", "::", ""]
    out.append(_plain(line) if literal and indented else line)
  return out


def _plain(line: str) -> str:
  """Removes the escapes, for a literal block."""
  line = re.sub(r":py:obj:`([^`]+)`|``([^`]+)``", lambda found: f"`{found.group(1) or found.group(2)}`", line)
  return re.sub(r"\\([*|\\_])", r"\1", line)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
  """Sphinx's hook for the lines of each docstring; replaces them."""
  lines[:] = convert(lines)
  # Napoleon parses text before a colon as a type; an empty type preserves the sentence.
  if what in ("attribute", "property") and lines:
    lines[0] = ": " + lines[0]
  for index, line in enumerate(lines[:-1]):
    if line in ("Returns:", "Yields:"):
      lines[index + 1] = "  : " + lines[index + 1].strip()


def setup(app: Any) -> dict[str, Any]:
  """Sphinx's hook to load the extension."""
  app.connect("autodoc-process-docstring", process, priority=400)
  return {"parallel_read_safe": True}
