"""Identities of two sets that have the same name."""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class IdentityLeak:
  """An identity of the training set with the name of one of the test set.

  Attributes:
    train: its name in the training set.
    test: its name in the test set.
  """

  train: str
  test: str


def same_names(train: list[str], test: list[str]) -> tuple[tuple[IdentityLeak, ...], list[str]]:
  """Identities whose names agree but for case, accents, punctuation and order of the words; notes on numbered identities."""
  notes, known = [], []
  for what, names in (("training", train), ("test", test)):
    kept = [name for name in names if not _NUMBER.fullmatch(name)]
    known.append(kept)
    if len(kept) < len(names):
      notes.append(f"{what} set: {len(names) - len(kept):,} of {len(names):,} identities are numbers, not names, and were not compared by name")
  by_key: dict[str, list[str]] = {}
  for name in known[0]:
    if key := plain_name(name):
      by_key.setdefault(key, []).append(name)
  return tuple(IdentityLeak(other, name) for name in known[1] for other in by_key.get(plain_name(name), ())), notes


# A number, also after a word: 0000123, n000042, person_17, m.01abc.
_NUMBER = re.compile(r"[a-z._-]*\d{2,}|\d|m\.[0-9a-z_]+", re.IGNORECASE)


def plain_name(name: str) -> str:
  """A person's name without case, accents, punctuation and order of its words."""
  letters = unicodedata.normalize("NFKD", name).casefold()
  words = re.findall(r"[^\W\d_]+", "".join(one for one in letters if not unicodedata.combining(one)))
  return " ".join(sorted(words))


__all__ = ["IdentityLeak", "plain_name", "same_names"]
