"""A part of the user's own (a term, a margin, an augmentation, a head): what it must be, and how messages call it."""

import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FROZEN = "@dataclass(frozen=True)"


class WrongPart(TypeError):
  """A part of the user's own that does not keep its contract; the message says what to add or to change."""


def is_own(part: Any) -> bool:
  """Whether a part is the user's, and none of jaxface's."""
  return not type(part).__module__.startswith("jaxface.")


def called(part: Any, where: str) -> str:
  """What a part is called in messages: where it is given, its file or module, its class."""
  kind = _kind(part)
  return f"{where}: {Path(_file(part)).name or kind.__module__}: {kind.__qualname__}"


def failed(part: Any, error: Exception) -> str:
  """An error that a part has raised, with the line of the part's file at which it arose."""
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _file(part)]
  return f"{f'line {lines[-1]}: ' if lines else ''}{type(error).__name__}: {error}"


def check_members(part: Any, where: str, protocol: type, members: Mapping[str, str]) -> None:
  """Refuse a part that is no frozen dataclass, lacks a member or takes other arguments.

  Args:
    part: what the user has written.
    where: the place it is given at.
    protocol: its contract.
    members: of the contract, each with the line to add.
  Raises:
    WrongPart: says what to write.
  """
  if isinstance(part, type):
    raise WrongPart(f"{called(part, where)} is a class: give an object of it, {part.__name__}()")
  if inspect.isroutine(part):
    raise WrongPart(f"{called(part, where)} is a function: write a class with {', '.join(members)}, under the line\n  {_FROZEN}")
  missing = [line for name, line in members.items() if not hasattr(part, name)]
  if missing:
    lines = "\n".join(f"  {line}" for line in missing)
    raise WrongPart(f"{called(part, where)} is no {protocol.__name__.lower()} yet. Add:\n{lines}")
  params = getattr(part, "__dataclass_params__", None)
  if params is None or not params.frozen:
    # Its fields are options of the run, and a run that goes on compares them.
    raise WrongPart(f"{called(part, where)} is no frozen dataclass. Put above `class {type(part).__name__}`:\n  {_FROZEN}")
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
