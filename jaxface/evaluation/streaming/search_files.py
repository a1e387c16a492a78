"""Searches a gallery of embeddings for every probe: the nearest entries, and ranks where both have labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.measures.identification import Searches, cmc
from jaxface.evaluation.streaming.embedding_search import search_embeddings
from jaxface.evaluation.streaming.nearest import Nearest, nearest_embeddings
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings

SHOWN = 10
RANKS = (1, 5, 10, 20)


@dataclass(frozen=True)
class SearchResult:
  """Result of `search_files`; `print` shows it.

  Attributes:
    probes: names of the probes.
    gallery: names of the entries.
    nearest: rows [Q, k] of the gallery, and cosines [Q, k], the nearest first.
    searches: rank of each probe's mate; None without identities.
  """

  probes: list[str]
  gallery: list[str]
  nearest: Nearest
  searches: Searches | None

  @property
  def notes(self) -> tuple[str, ...]:
    """A caveat where probes are entries of the gallery."""
    both = len(set(self.probes) & set(self.gallery))
    return (f"{both:,} probes have the name of an entry: they find themselves, so the ranks mean nothing; leave them out of one file.",) if both else ()

  @property
  def figures(self) -> Mapping[str, Any]:
    """Everything as plain JSON values."""
    rows = [
      {"probe": name, "nearest": [{"name": self.gallery[row], "cosine": float(score)} for row, score in zip(row_k, score_k)]}
      for name, row_k, score_k in zip(self.probes, self.nearest.row, self.nearest.score)
    ]
    return {"probes": len(self.probes), "gallery": len(self.gallery), **self._ranks(), "notes": list(self.notes), "searches": rows}

  def _ranks(self) -> dict[str, Any]:
    if self.searches is None or not self.searches.mated.any():
      return {}
    share = cmc(self.searches.rank[self.searches.mated], max(RANKS))
    return {"mated": int(self.searches.mated.sum()), "rank": {str(rank): float(share[rank - 1]) for rank in RANKS}}

  def __str__(self) -> str:
    lines = []
    for name, row_k, score_k in list(zip(self.probes, self.nearest.row, self.nearest.score))[:SHOWN]:
      lines.append(name)
      lines += [f"  {score:.4f}  {self.gallery[row]}" for row, score in zip(row_k, score_k)]
    if len(self.probes) > SHOWN:
      lines.append(f"… and {len(self.probes) - SHOWN:,} more probes: see --json")
    if found := self._ranks():
      shares = ", ".join(f"{rank}: {100 * share:.2f} %" for rank, share in found["rank"].items())
      lines.append(f"{found['mated']:,} of {len(self.probes):,} probes have a mate in the gallery, at rank {shares}")
    return "\n".join(lines)


def search_files(
  gallery: Embeddings | str | Path, probes: Embeddings | str | Path, *, top: int = 20, out: str | Path | None = None
) -> SearchResult:
  """The entries of a gallery with the highest cosine for each probe, exact; and ranks, where images stand in folders of people.

  A probe and an entry show one person if their images stand in folders of one name (`Person/Person_0001`). An entry with the name of
  a probe is the same image: a note says so.

  Args:
    gallery: an `Embeddings`, or a file of them.
    probes: likewise.
    top: number of entries for each probe; all if the gallery has fewer.
    out: JSON file for every figure.
  Raises:
    ValueError: embeddings of different sizes, zero or not finite.
    DamagedData: a file that cannot be read.
  """
  entries, asked = (one if isinstance(one, Embeddings) else read_embeddings(one) for one in (gallery, probes))
  if top < 1:
    raise ValueError(f"top is {top}: at least 1 is needed")
  nearest = nearest_embeddings(asked.embedding_nd, entries.embedding_nd, min(top, len(entries.names)))
  searches = None
  if all("/" in name for name in (*entries.names, *asked.names)):
    person_n, person_m = (np.array([name.rsplit("/", 1)[0] for name in one.names]) for one in (asked, entries))
    searches = search_embeddings(asked.embedding_nd, person_n, entries.embedding_nd, person_m)
  found = SearchResult(asked.names, entries.names, nearest, searches)
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["SearchResult", "search_files"]
