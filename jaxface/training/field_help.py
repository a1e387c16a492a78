"""Help for the fields of an experiment, in groups, read from the docstrings of its configs."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ENTRY = re.compile(r"^(\w+): (.*)$")


class Field(NamedTuple):
  """One option.

  Attributes:
    name: dotted name.
    value: its value in this experiment.
    text: its description, one paragraph; "" if its class has none.
  """

  name: str
  value: Any
  text: str


class Group(NamedTuple):
  """The options of one config.

  Attributes:
    name: dotted name; "" for the experiment itself.
    kind: name of the config's class.
    title: first line of its docstring.
    fields: its options that are not configs themselves.
  """

  name: str
  kind: str
  title: str
  fields: list[Field]


def documented(kind: type) -> dict[str, str]:
  """Descriptions of the attributes in the docstring of a class and of its base classes."""
  texts: dict[str, str] = {}
  for base in reversed(kind.__mro__):
    texts |= _attributes(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
  return texts


def _attributes(doc: str) -> dict[str, str]:
  texts: dict[str, str] = {}
  inside, name = False, ""
  for line in doc.splitlines():
    if re.fullmatch(r"[A-Z]\w+:", line):
      inside, name = line == "Attributes:", ""
    elif inside and line.startswith("  "):
      entry = _ENTRY.match(line[2:])
      if entry:
        name = entry[1]
        texts[name] = entry[2]
      elif name and line.startswith("    "):
        texts[name] += f" {line.strip()}"
    elif line and not line.startswith(" "):
      inside = False
  return texts


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
  if isinstance(value, Mapping) and value:
    for key, entry in value.items():
      yield from _leaves(f"{name}.{key}", entry)
  else:
    yield name, value


def groups(config: Any, name: str = "") -> Iterator[Group]:
  """The options of a nested config, one group per config, outer ones first."""
  if isinstance(config, tuple):
    for index, item in enumerate(config):
      yield from groups(item, f"{name}.{index}")
    return
  texts = documented(type(config))
  fields, nested = [], []
  for field in dataclasses.fields(config):
    value, full = getattr(config, field.name), f"{name}.{field.name}" if name else field.name
    if dataclasses.is_dataclass(value) or (isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0])):
      nested.append((value, full))
    else:
      fields += [Field(leaf, entry, texts.get(field.name, "")) for leaf, entry in _leaves(full, value)]
  title = inspect.cleandoc(type(config).__doc__ or "").split("\n", 1)[0].rstrip(".")
  yield Group(name, type(config).__name__, title, fields)
  for value, full in nested:
    yield from groups(value, full)


__all__ = ["Field", "Group", "documented", "groups"]
