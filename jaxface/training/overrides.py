"""Change any field of a nested frozen config from text: `optimizer.learning_rate` to `0.05`."""

import ast
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, cast

Choices = Mapping[str, Mapping[str, type]]


class UnknownField(ValueError):
  """An override of a field that does not exist, or with a value of the wrong type."""


def field_values(config: Any, prefix: str = "") -> dict[str, Any]:
  """Every leaf of a nested config by its dotted name, in order of definition."""
  if dataclasses.is_dataclass(config):
    items = [(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)]
  elif isinstance(config, Mapping):
    items = list(config.items())
  else:
    items = [(str(index), value) for index, value in enumerate(config)]
  leaves: dict[str, Any] = {}
  for name, value in items:
    nested = dataclasses.is_dataclass(value) or (
      isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value)
    )
    if nested or (isinstance(value, Mapping) and value):
      leaves.update(field_values(value, f"{prefix}{name}."))
    else:
      leaves[f"{prefix}{name}"] = value
  return leaves


def override(config: Any, name: str, text: str, choices: Choices | None = None) -> Any:
  """A copy of `config` with one field changed.

  Args:
    config: nested frozen dataclasses, tuples of them, and mappings.
    name: dotted path; a number selects from a tuple (`terms.0.margin.m`).
    text: the new value as written on a command line.
    choices: for fields whose value is a config, or a tuple of them, the classes by name (`margin`: {"arcface": ArcFace}). A
      name given for the index after the last entry of a tuple appends an entry.
  Raises:
    UnknownField: no such field (the message lists similar and valid names), or a value of the wrong type.
  """
  return _replace(config, name.split("."), text, name, choices or {}, "")


def override_all(config: Any, overrides: Mapping[str, str], choices: Choices | None = None) -> Any:
  """A copy of `config` with several fields changed, in any order; see `override`.

  Args:
    config: a frozen dataclass.
    overrides: texts by dotted name.
    choices: see `override`.
  """
  left = dict(overrides)
  while left:
    refused: dict[str, UnknownField] = {}
    # Outer fields first, since a new margin resets the fields of the old one. A field that is valid only with another
    # override is tried again after it.
    for name in sorted(left, key=lambda name: name.count(".")):
      try:
        config = override(config, name, left[name], choices)
      except UnknownField as error:
        refused[name] = error
    if len(refused) == len(left):
      raise next(iter(refused.values()))
    left = {name: left[name] for name in refused}
  return config


def _replace(config: Any, path: list[str], text: str, full: str, choices: Choices, field: str) -> Any:
  """`field` is the name of the field that holds `config`."""
  head, rest = path[0], path[1:]
  if isinstance(config, tuple):
    return _replace_entry(config, path, text, full, choices, field)
  if isinstance(config, Mapping):
    name, value = ".".join(path), _literal(text)
    # A list without quotes, such as the regions "face,nose", or one name where there was a list.
    listed = isinstance(value, str) and ("," in value or isinstance(config.get(name), (tuple, list)))
    return {**config, name: _parse_kind(tuple, text) if listed else value}
  if not dataclasses.is_dataclass(config):
    raise UnknownField(f"--{full}: there are no fields below {full.removesuffix('.' + '.'.join(path))!r}")
  names = [field.name for field in dataclasses.fields(config)]
  if head not in names:
    near = difflib.get_close_matches(head, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownField(f"--{full}: {type(config).__name__} has no field {head!r}.{hint} Fields: {', '.join(names)}")
  current = getattr(config, head)
  if rest:
    new = _replace(current, rest, text, full, choices, head)
  elif dataclasses.is_dataclass(current):
    new = _choose(current, head, text, full, choices)
  else:
    new = _parse(current, typing.get_type_hints(type(config))[head], text, full)
  try:
    return dataclasses.replace(cast(Any, config), **{head: new})
  except (ValueError, TypeError) as error:
    raise UnknownField(f"--{full} {text}: {error}") from error


def _replace_entry(config: tuple, path: list[str], text: str, full: str, choices: Choices, field: str) -> tuple:
  head, rest = path[0], path[1:]
  more = field in choices and not rest  # one more entry
  if not (head.isdigit() and int(head) < len(config) + more):
    raise UnknownField(f"--{full}: {head!r} is not an index of its {len(config)} entries: needs a number from 0")
  index = int(head)
  if rest:
    new = _replace(config[index], rest, text, full, choices, field)
  elif more or dataclasses.is_dataclass(config[index]):
    new = _choose(config[index] if index < len(config) else None, field, text, full, choices)
  else:
    new = _parse(config[index], None, text, full)
  return (*config[:index], new, *config[index + 1 :])


def _choose(current: Any, head: str, text: str, full: str, choices: Choices) -> Any:
  kinds = choices.get(head, {})
  kind = next((kind for name, kind in kinds.items() if _natural(text) == _natural(name)), None)
  if kind is None:
    valid = f"one of {', '.join(kinds)}" if kinds else f"one of its fields{_example(current, full)}"
    raise UnknownField(f"--{full} {text}: needs {valid}")
  return kind()


def _example(config: Any, full: str) -> str:
  names = [field.name for field in dataclasses.fields(config)]
  return f", such as --{full}.{names[0]}" if names else ", and it has none"


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _natural(text: str) -> str:
  """A name in normal form, for comparison: "Semi-hard", "semi_hard" and "SemiHard" are equal."""
  return re.sub(r"[-_ ]", "", text.strip().lower())


def _one_of(valid: Sequence[Any], text: str, full: str) -> Any:
  """The valid value that a text names; "none" stands for ""."""
  for value in valid:
    if text == str(value):
      return value
  for value in valid:
    if _natural(text) == _natural(str(value)) or (value == "" and _natural(text) == "none"):
      return value
  near = difflib.get_close_matches(text, [str(value) for value in valid], n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  names = ", ".join(str(value) if value != "" else "none" for value in valid)
  raise UnknownField(f"--{full} {text}: needs one of {names}.{hint}")


def _parse(current: Any, hint: Any, text: str, full: str) -> Any:
  if typing.get_origin(hint) is typing.Literal:
    return _one_of(typing.get_args(hint), text, full)
  kinds = _kinds(hint) if hint is not None else (type(current),)
  if type(None) in kinds and text.lower() == "none":
    return None
  for kind in kinds:
    try:
      return _parse_kind(kind, text)
    except ValueError:
      continue
  wanted = " or ".join(kind.__name__ for kind in kinds)
  raise UnknownField(f"--{full} {text}: needs a value of type {wanted}, such as {current!r}")


def _kinds(hint: Any) -> tuple[type, ...]:
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return tuple(kind for part in typing.get_args(hint) for kind in _kinds(part))
  if typing.get_origin(hint) is typing.Literal:
    return tuple({type(value) for value in typing.get_args(hint)})
  return (typing.get_origin(hint) or hint,)


def _parse_kind(kind: type, text: str) -> Any:
  if kind is bool:
    if text.lower() in ("true", "yes", "1", "on"):
      return True
    if text.lower() in ("false", "no", "0", "off"):
      return False
    raise ValueError(text)
  if kind is int:
    try:
      return int(text)
    except ValueError:
      number = float(text)  # such as 1e5
      if not number.is_integer() or abs(number) > 2**53:
        raise ValueError(text) from None
      return int(number)
  if kind in (float, str):
    return kind(text)
  if kind is tuple:
    parts = [part.strip() for part in text.strip("()[] ").split(",")]
    return tuple(_literal(part) for part in parts if part)
  raise ValueError(text)
