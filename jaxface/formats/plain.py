"""Dataclasses as JSON values and back, by their annotations, for what processes on several machines give each other."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints


def to_plain(value: Any) -> Any:
  """A value as JSON: dataclasses become objects, tuples become lists."""
  if is_dataclass(value):
    return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
  if isinstance(value, (list, tuple)):
    return [to_plain(each) for each in value]
  return value


def from_plain(kind: Any, plain: Any) -> Any:
  """The value that `to_plain` wrote.

  Args:
    kind: its annotation: a dataclass, list[X], tuple[X, Y], tuple[X, ...], or a type that JSON has.
    plain: the JSON value.
  Raises:
    TypeError: fields of a dataclass are missing or unknown.
  """
  inner = get_args(kind)
  if is_dataclass(kind):
    kinds = get_type_hints(kind)
    return kind(**{name: from_plain(kinds.get(name, Any), each) for name, each in plain.items()})  # type: ignore[operator]
  if get_origin(kind) is list:
    return [from_plain(inner[0], each) for each in plain]
  if get_origin(kind) is tuple:
    of_each = [inner[0]] * len(plain) if inner[-1] is Ellipsis else inner
    return tuple(from_plain(one, each) for one, each in zip(of_each, plain, strict=True))
  return plain


__all__ = ["from_plain", "to_plain"]
