"""The interface of a protocol, and the figures that it gives."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.people_draws import ProtocolDraws
from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.measures.identification import Searches
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import check_unique, finder
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData


@dataclass(frozen=True)
class ProtocolFigures:
  """Result of a protocol that is not a single pair list; `print` shows the figures.

  Attributes:
    figures: everything as plain JSON values.
    notes: caveats of the figures, a line each.
    lines: the figures for a terminal.
    searches: rank and score of each probe by gallery, for protocols that search (1:N); else empty.
    probes: person of each probe by gallery, as integers; empty if not known.
    parts: figures of each pair list by name, for protocols of several (RFW); else empty.
    draws: figures under random weights of the people, for intervals and comparisons; None if there are none.
    meta: how the embeddings were made, and `title` if the evaluation has one; plain JSON values.
  """

  figures: Mapping[str, Any]
  notes: tuple[str, ...]
  lines: tuple[str, ...]
  searches: Mapping[str, Searches] = field(default_factory=dict)
  probes: Mapping[str, np.ndarray] = field(default_factory=dict)
  parts: Mapping[str, Evaluation] = field(default_factory=dict)
  draws: ProtocolDraws | None = None
  meta: Mapping[str, Any] = field(default_factory=dict)

  def __str__(self) -> str:
    return "\n".join(self.lines)


@dataclass(frozen=True)
class Protocol(ABC):
  """Official lists, read and checked.

  Attributes:
    name: name in the registry, such as "lfw".
    counts: what the lists contain, by what is counted.
    notes: how the lists differ from the official ones, a line each; empty where they agree.
  """

  name: str
  counts: Mapping[str, int]
  notes: tuple[str, ...]

  @property
  @abstractmethod
  def images(self) -> tuple[str, ...]:
    """Names of the images that need an embedding, each once, in order of first use."""

  def used(self, names: Sequence[str]) -> tuple[set[str], list[str]]:
    """Which images the lists name, to embed only those, and which of them are missing.

    Args:
      names: names of the images that there are; they match as in `pair_names.matched`.
    Returns:
      (those of `names` that the lists name, names in the lists without an image).
    """
    known, find = set(names), finder(names)
    image_of = {name: find(name) for name in self.images}
    return {found for found in image_of.values() if found in known}, [name for name, found in image_of.items() if found not in known]

  @abstractmethod
  def evaluate(self, embeddings: Embeddings, *, skip_missing: bool = False) -> Any:
    """The figures of embeddings.

    Args:
      embeddings: named embeddings; names match as in `pair_names.matched`.
      skip_missing: ignore images without an embedding, with a note; otherwise they raise an error.
    Returns:
      `ProtocolFigures`, or `Evaluation` for a pair list: both have `figures` and `notes`, and print.
    Raises:
      ValueError: an image without an embedding; an embedding that is zero or not finite, or whose name occurs twice.
    """


def list_parts(part: Any) -> Iterator[str | np.ndarray]:
  """What a protocol's lists contain, wherever their files are: equal for equal lists, for a digest.

  Args:
    part: a `Protocol`, or a part of one.
  """
  if is_dataclass(part):
    for one in fields(part):
      if one.name not in ("file", "line", "notes"):  # where it stands, and what is said of it
        yield one.name
        yield from list_parts(getattr(part, one.name))
  elif isinstance(part, Mapping):
    for key, value in part.items():
      yield str(key)
      yield from list_parts(value)
  elif isinstance(part, (list, tuple)):
    yield str(len(part))
    for value in part:
      yield from list_parts(value)
  else:
    yield part if isinstance(part, np.ndarray) else str(part)


def percent(value: float, interval: Sequence[float]) -> str:
  """A share with its interval: `91.20 % (95 %: 88.10 to 93.60)`."""
  return f"{100 * value:.2f} % (95 %: {100 * interval[0]:.2f} to {100 * interval[1]:.2f})"


def check_counts(where: str | Path, counts: Mapping[str, int], official: Mapping[str, int]) -> list[str]:
  """Compares the counts of lists with those of the official ones.

  Args:
    where: file or folder of the lists, for messages.
    counts: what was found; may count more kinds of things.
    official: the official numbers.
  Returns:
    A line if some are smaller, as in a subset; else none.
  Raises:
    DamagedData: some are larger: these are other lists.
  """
  differ = {what: (counts[what], right) for what, right in official.items() if counts[what] != right}
  if any(found > right for found, right in differ.values()):
    told = ", ".join(f"{found:,} {what} (official: {right:,})" for what, (found, right) in differ.items())
    raise DamagedData(f"these are not the official lists: {told}", file=where)
  if not differ:
    return []
  told = ", ".join(f"{found:,} of {right:,} {what}" for what, (found, right) in differ.items())
  return [f"{where}: a subset of the official lists: {told}. Figures on it are not comparable with published ones."]


def unit_embeddings(embeddings: Embeddings, row_n: Sequence[int] | np.ndarray) -> np.ndarray:
  """Some embeddings at length one.

  Args:
    embeddings: named embeddings.
    row_n: [N] int, their rows.
  Returns:
    [N, D] float64.
  Raises:
    ValueError: names an embedding that is zero or not finite.
  """
  return unit_rows(embeddings.embedding_nd[row_n], names=[embeddings.names[row] for row in row_n])


def rows_of(embeddings: Embeddings, images: Sequence[str], *, skip_missing: bool = False) -> tuple[np.ndarray, list[str]]:
  """The row of each image, -1 for those without an embedding.

  Args:
    embeddings: named embeddings; names match as in `pair_names.matched`.
    images: names in the lists.
    skip_missing: give -1 and a note; otherwise a missing image is an error.
  Returns:
    ([I] int64, notes).
  Raises:
    ValueError: names the first missing image, or an embedding whose name occurs twice.
  """
  row_of = {name: row for row, name in enumerate(embeddings.names)}
  find = finder(row_of)
  wanted = [find(name) for name in images]
  check_unique(embeddings.names, wanted, "the lists refer")
  found_i = np.array([row_of.get(name, -1) for name in wanted], np.int64)
  gone = np.flatnonzero(found_i < 0)
  if not gone.size:
    return found_i, []
  first = f"{images[gone[0]]!r} ({gone.size:,} of {len(images):,} images have none)"
  if not skip_missing or gone.size == len(images):
    have = ", ".join(map(repr, embeddings.names[:3])) or "none at all"
    raise ValueError(
      f"no embedding is named {first}. The {len(embeddings.names):,} embeddings are named like {have}. Embed the images of the lists, or ignore what"
      " needs them (skip_missing, --skip-missing)"
    )
  return found_i, [f"images without an embedding are ignored: {first}."]


def rate_name(rate: float) -> str:
  """A rate as a key of figures: "1e-4" for 0.0001."""
  return f"{rate:.0e}".replace("e-0", "e-")


def find_file(lists: str | Path, names: tuple[str, ...], what: str) -> Path:
  """The file of a list: `lists` itself if it is a file, else the first of `names` below it that exists.

  Raises:
    FileNotFoundError: none exists; lists the names.
  """
  lists = Path(lists)
  if lists.is_file():
    return lists
  for name in names:
    if (lists / name).is_file():
      return lists / name
  if not lists.exists():
    raise FileNotFoundError(f"{lists}: no such file or folder; expected {what} ({', '.join(names)})")
  raise FileNotFoundError(f"{lists}: has no {what}: looked for {', '.join(names)}")


__all__ = ["Protocol", "ProtocolFigures", "check_counts", "find_file", "list_parts", "percent", "rate_name", "rows_of", "unit_embeddings"]
