"""Spelling variants of people's names: accents, other alphabets, order of words, initials, and single wrong letters."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

# Letters that have no decomposition into a plain one, and Cyrillic and Greek ones as passports transliterate them (ICAO 9303).
_LETTERS = {
  "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "å": "a", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h",
  "а": "a", "б": "b", "в": "v", "г": "g", "ґ": "g", "д": "d", "е": "e", "ё": "e", "є": "ie", "ж": "zh", "з": "z", "и": "i", "і": "i", "ї": "i",
  "й": "i", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts",
  "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "ie", "ы": "y", "ь": "", "э": "e", "ю": "iu", "я": "ia",
  "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l", "μ": "m", "ν": "n", "ξ": "x",
  "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}
# Spellings of one sound by different systems of transliteration.
_SOUNDS = (("kh", "h"), ("iy", "i"), ("yy", "i"), ("ij", "i"), ("ey", "i"), ("ei", "i"), ("y", "i"), ("j", "i"), ("ks", "x"), ("ph", "f"), ("ae", "a"),
           ("oe", "o"), ("ue", "u"), ("w", "v"), ("ck", "k"), ("c", "k"), ("tz", "ts"))


def name_words(name: str) -> tuple[str, ...]:
  """Words of a name in plain Latin letters, sorted."""
  plain = "".join(_LETTERS.get(letter, letter) for letter in unicodedata.normalize("NFC", name).casefold())
  plain = "".join(letter for letter in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(letter))
  # Letters with an accent in another alphabet are plain only now.
  plain = "".join(_LETTERS.get(letter, letter) for letter in plain)
  return tuple(sorted(re.findall(r"[^\W\d_]+", plain)))


def _sound(word: str) -> str:
  for before, after in _SOUNDS:
    word = word.replace(before, after)
  return re.sub(r"(.)\1+", r"\1", word)


def edit_distance(left: str, right: str) -> int:
  """Fewest insertions, deletions, replacements and swaps of neighbouring letters between two words."""
  before, last = list(range(len(right) + 1)), list(range(len(right) + 1))
  for i, letter in enumerate(left, start=1):
    row = [i]
    for j, other in enumerate(right, start=1):
      cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
      if i > 1 and j > 1 and letter == right[j - 2] and left[i - 2] == other:
        cost = min(cost, before[j - 2] + 1)
      row.append(cost)
    before, last = last, row
  return last[-1]


def same_person_names(candidates: Sequence[str], others: Sequence[str]) -> list[tuple[str, str, str]]:
  """Candidates whose name may be that of one of the others.

  Args:
    candidates: names.
    others: names, as of a test set; "_" counts as a space.
  Returns:
    (candidate, other, why), in order of the candidates: "the same words", "the same sounds", "initials", or "one letter".
  """
  by_key: dict[str, list[tuple[str, ...]]] = defaultdict(list)
  text: dict[tuple[str, ...], str] = {}
  for other in others:
    words = name_words(other)
    if words:
      text.setdefault(words, other)
      for word in words:
        for key in _keys(word):
          by_key[key].append(words)
  found = []
  for name in candidates:
    words = name_words(name)
    near = {other for word in words for key in _keys(word) for other in by_key.get(key, ())}
    why = sorted((rank, text[other], reason) for other in near for rank, reason in [_compare(words, other)] if reason)
    if why:
      found.append((name, why[0][1], why[0][2]))
  return found


def _keys(word: str) -> set[str]:
  """What a word shares with its variants: itself and its sound, each also without any one letter."""
  heard = _sound(word)
  return {heard, *(heard[:at] + heard[at + 1 :] for at in range(len(heard)) if len(heard) > 4)}


def _compare(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[int, str]:
  if left == right:
    return 0, "the same words"
  heard = [tuple(sorted(map(_sound, words))) for words in (left, right)]
  if heard[0] == heard[1]:
    return 1, "the same sounds"
  if len(left) != len(right) or len(left) < 2:
    return 9, ""
  ours, theirs = list(heard[0]), list(heard[1])
  for word in heard[0]:  # what both have
    if word in theirs:
      ours.remove(word)
      theirs.remove(word)
  if len(ours) != 1 or len(theirs) != 1:
    return 9, ""
  one, other = ours[0], theirs[0]
  if min(len(one), len(other)) == 1 and one[0] == other[0]:
    return 2, "initials"
  return (3, "one letter") if min(len(one), len(other)) >= 4 and edit_distance(one, other) == 1 else (9, "")


__all__ = ["edit_distance", "name_words", "same_person_names"]
