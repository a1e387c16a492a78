"""Writes the tables of names, fields and defaults at the end of docs/losses.md, from the classes.

Command: python docs/make_loss_tables.py
"""

import dataclasses
import inspect
from pathlib import Path

from generated import replace_part

from jaxface.losses.margins_base import CosineMargin
from jaxface.training.choices import FORMS, MARGINS, TERMS

PAGE = Path(__file__).with_name("losses.md")
NAME = "docs/make_loss_tables.py"


def defaults(kind: type) -> dict[str, str]:
  """Default of each field, as code."""
  return {field.name: shown(field) for field in dataclasses.fields(kind)}


def shown(field: dataclasses.Field) -> str:
  """A default for the table: a config by its class, other values as they are."""
  if field.default_factory is not dataclasses.MISSING:
    return f"{type(field.default_factory()).__name__}()"
  return repr(field.default).replace('"', "").replace("'", "")


def row(name: str, kind: type) -> str:
  """One line of a table; fields that all cosine margins share, with the same default, are listed above the table."""
  shared = defaults(CosineMargin) if issubclass(kind, CosineMargin) else {}
  fields = [f"`{field}` {value}" for field, value in defaults(kind).items() if shared.get(field) != value]
  purpose = (inspect.getdoc(kind) or "").splitlines()[0].replace("|", "\\|")
  return f"| `{name}` | {kind.__name__} | {purpose} | {', '.join(fields) or '–'} |\n"


def table(kinds: dict[str, type]) -> str:
  """The table of all kinds."""
  head = "| name | class | what it is | fields and defaults |\n|---|---|---|---|\n"
  return head + "".join(row(name, kind) for name, kind in kinds.items())


def tables() -> str:
  """The generated part."""
  common = ", ".join(f"`{name}` {value}" for name, value in defaults(CosineMargin).items())
  return (
    f"\n## Names, fields and defaults\n\n### Terms: `--terms.0 NAME`\n\n{table(TERMS)}"
    f"\n### Margins of a classification: `--terms.0.margin NAME`\n\nFrom `spherefacer` on, all but `filtered` also take {common};"
    f" other defaults are in the table.\n\n{table(MARGINS)}"
    f"\n### Forms of `pairs`: `--terms.0.form NAME`\n\n{table(FORMS)}"
  )


if __name__ == "__main__":
  replace_part(PAGE, NAME, tables())
