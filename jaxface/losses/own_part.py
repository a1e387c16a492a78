"""User-defined parts (terms, margins, augmentations, heads): common checks, and their names in messages."""

import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FROZEN = "@dataclass(frozen=True)"


class WrongPart(TypeError):
  """A user-defined part that violates its contract; the message says what to add or change."""


def is_own(part: Any) -> bool:
  """Whether a part is user-defined, not jaxface's."""
  return not type(part).__module__.startswith("jaxface.")


def called(part: Any, where: str) -> str:
  """Name of a part in messages: its field, its file or module, its class."""
  kind = _kind(part)
  return f"{where}: {Path(_file(part)).name or kind.__module__}: {kind.__qualname__}"


def failed(part: Any, error: Exception) -> str:
  """Text of an error that a part raised, with the line in the part's file."""
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _file(part)]
  return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {error}"


def check_members(part: Any, where: str, protocol: type, members: Mapping[str, str]) -> None:
  """Reject a part that is not a frozen dataclass, lacks a member or takes other arguments.

  Args:
    part: the user-defined part.
    where: name of its field.
    protocol: its contract.
    members: members of the contract, each with the line to add.
  Raises:
    WrongPart: the message says what to write.
  """
  if isinstance(part, type):
    raise WrongPart(f"{called(part, where)} is a class: give an instance, {part.__name__}()")
  if inspect.isroutine(part):
    raise WrongPart(f"{called(part, where)} is a function: write a class with {', '.join(members)}, under the line\n  {_FROZEN}")
  missing = [line for name, line in members.items() if not hasattr(part, name)]
  if missing:
    lines = "\n".join(f"  {line}" for line in missing)
    name = protocol.__name__.lower()
    article = "an" if name[0] in "aeiou" else "a"
    raise WrongPart(f"{called(part, where)} lacks members of {article} {name}. Add:\n{lines}")
  params = getattr(part, "__dataclass_params__", None)
  if params is None or not params.frozen:
    # Its fields are options of the run, and are compared when a run is resumed.
    raise WrongPart(f"{called(part, where)} is not a frozen dataclass. Put above `class {type(part).__name__}`:\n  {_FROZEN}")
  for name, line in members.items():
    if not line.startswith("def "):
      continue
    wanted = inspect.signature(getattr(protocol, name))
    own = inspect.signature(getattr(part, name))
    positional = [p for p in wanted.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    named = {p.name: None for p in wanted.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
      own.bind(*[None] * len(positional), **named)
    except TypeError as error:
      raise WrongPart(f"{called(part, where)}: {name} takes {own}, but {error}. It is called as in:\n  {line}") from error


def _kind(part: Any) -> Any:
  return part if isinstance(part, type) or inspect.isroutine(part) else type(part)


def _file(part: Any) -> str:
  return getattr(sys.modules.get(_kind(part).__module__), "__file__", None) or ""


__all__ = ["WrongPart", "called", "check_members", "failed", "is_own"]
