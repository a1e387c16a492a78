"""The fields of an experiment as text, for `jaxface train EXPERIMENT --help`."""

import textwrap

from jaxface.training.choices import CHOICES, kinds
from jaxface.training.config import load_any_experiment
from jaxface.training.field_help import groups


def field_text(name: str, *, small: bool, width: int) -> str:
  """Usage, description and fields of an experiment.

  Args:
    name: name or path of the experiment.
    small: of its small form.
    width: of a line in characters.
  Raises:
    ValueError: an unknown experiment.
  """
  experiment, text = load_any_experiment(name, small=small)
  lines = [f"usage: jaxface train {name} {'--small ' if small else ''}[--workdir DIR] [--FIELD VALUE ...]", "", text.strip()]
  chosen = kinds(experiment)
  for group in groups(experiment):
    lines += ["", f"{group.name or 'the run'}: {group.title}"]
    if group.name in chosen:
      place = next(part for part in reversed(group.name.split(".")) if part in CHOICES)
      line = f"{group.kind}, one of {', '.join(CHOICES[place])}"
      lines.append(textwrap.fill(line, width, initial_indent=f"  --{group.name} KIND  ", subsequent_indent=" " * 8))
    for field in group.fields:
      lines.append(f"  --{field.name} {_shown(field.value)}")
      lines.append(textwrap.fill(field.text, width, initial_indent=" " * 8, subsequent_indent=" " * 8))
  return "\n".join(lines)


def _shown(value: object) -> str:
  """A value as written on the command line."""
  if isinstance(value, (tuple, list)):
    return ",".join(map(str, value)) or "''"
  return str(value) if value not in ("", {}) else "''"


__all__ = ["field_text"]
