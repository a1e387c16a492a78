"""Licence and origin of the images and weights that a model was made from; "unknown" if not specified."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

UNKNOWN = "unknown"
MAX_TEXT = 500


def provenance_text(what: str, text: str) -> str:
  """A licence or an origin as it is stored: one line, "unknown" if empty.

  Args:
    what: "licence" or "origin", for the message.
    text: the value as given.
  Raises:
    ValueError: several lines, control characters, or more than 500 characters.
  """
  text = text.strip()
  if len(text) > MAX_TEXT or not text.isprintable():
    raise ValueError(f"{what} {text[:80]!r}: give one line of at most {MAX_TEXT} characters, such as an SPDX name or an address")
  return text or UNKNOWN


@dataclass(frozen=True)
class Ancestor:
  """One source that a model was made from.

  Attributes:
    kind: "images" or "weights".
    name: name of the folder, record set or file.
    licence: an SPDX name such as "CC-BY-4.0", the name of a data set's terms, or "unknown".
    origin: author or source, or "unknown".
  """

  kind: str
  name: str
  licence: str = UNKNOWN
  origin: str = UNKNOWN

  def __post_init__(self):
    if self.kind not in ("images", "weights"):
      raise ValueError(f"kind {self.kind!r}: takes images, weights")
    for what in ("licence", "origin"):
      object.__setattr__(self, what, provenance_text(what, getattr(self, what)))

  def __str__(self) -> str:
    return f"{self.kind} {self.name}: licence {self.licence}, origin {self.origin}"


Lineage = tuple[Ancestor, ...]


def to_json(lineage: Iterable[Ancestor]) -> list[dict[str, str]]:
  """Plain values for `from_json`, without duplicates."""
  return [asdict(ancestor) for ancestor in dict.fromkeys(lineage)]


def from_json(plain: Any) -> Lineage:
  """The inverse of `to_json`.

  Raises:
    ValueError: not a result of `to_json`.
  """
  try:
    if not all(isinstance(value, str) for entry in plain for value in entry.values()):
      raise TypeError("an entry that is no text")
    return tuple(Ancestor(**entry) for entry in plain)
  except (TypeError, AttributeError) as error:
    raise ValueError(f"lineage is {plain!r:.100}: expected a list of kind, name, licence and origin") from error


def fill(lineage: Lineage, licence: str, origin: str) -> Lineage:
  """A lineage with unknown licences and origins replaced by those given; "" replaces nothing.

  Raises:
    ValueError: a licence or an origin is given, and none is unknown.
  """
  for what, text in (("licence", licence), ("origin", origin)):
    if text and not any(getattr(ancestor, what) == UNKNOWN for ancestor in lineage):
      said = "; ".join(map(str, lineage))
      raise ValueError(f"{what} {text!r}: it is already known ({said}): omit the option")
  for what, text in (("licence", licence), ("origin", origin)):
    if text:
      lineage = tuple(
        replace(ancestor, **{what: text}) if getattr(ancestor, what) == UNKNOWN else ancestor for ancestor in lineage
      )
  return lineage


def summary(lineage: Lineage, what: str) -> str:
  """All licences, or all origins, of a lineage as one line.

  Args:
    lineage: the lineage.
    what: "licence" or "origin".
  Returns:
    One text if all are equal, else each with its source; "unknown" for an empty lineage.
  """
  texts = [getattr(ancestor, what) for ancestor in lineage]
  if len(set(texts)) <= 1:
    return texts[0] if texts else UNKNOWN
  return "; ".join(f"{text} ({ancestor.kind} {ancestor.name})" for text, ancestor in zip(texts, lineage))


__all__ = ["UNKNOWN", "Ancestor", "Lineage", "fill", "from_json", "provenance_text", "summary", "to_json"]
