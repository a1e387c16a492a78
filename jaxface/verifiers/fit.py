"""Fits a verifier of any kind on a file of embeddings."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.pairs.pair_names import matched
from jaxface.evaluation.pairs.pair_score import rows_of_pairs
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.losses.ranges import check_name
from jaxface.verifiers.base import MADE_WITH, RowPairs, Verifier
from jaxface.verifiers.file import write_verifier
from jaxface.verifiers.kinds import VERIFIERS

_log = logging.getLogger(__name__)


def fit_verifier(
  kind: str, embeddings: Embeddings | str | Path, *, pair_list: Pairs | str | Path | None = None, out: str | Path | None = None,
  say: Callable[[str], object] = _log.info, **options: Any,
) -> Verifier:
  """Fits a verifier on embeddings of a training set.

  Args:
    kind: one of `VERIFIERS`.
    embeddings: an `Embeddings` with labels, or a file of them (.npz, .parquet) as `jaxface embed` writes it.
    pair_list: pairs to learn from instead of labels, a `Pairs` or the file of a list; only for kinds that learn from pairs.
    out: file to write the verifier to, .npz.
    say: called with each line for the user, such as the iterations of EM.
    **options: settings of the kind, the keyword arguments of its `fit`.
  Returns:
    `Verifier`; `made_from` has what made the embeddings, and their numbers.
  Raises:
    ValueError: an unknown kind, a setting that it does not have, embeddings without labels where they are needed; as its `fit`.
    DamagedData: a file that cannot be read.
  """
  check_name("kind", kind, tuple(VERIFIERS))
  known = settings_of(kind)
  for name in options:
    if name not in known:
      raise ValueError(f"{kind} has no setting {name!r}; it has {', '.join(known)}")
  if out is not None and Path(out).suffix.lower() != ".npz":
    raise ValueError(f"{out}: verifiers are stored in .npz")
  where = "the embeddings" if isinstance(embeddings, Embeddings) else str(embeddings)
  given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
  made = VERIFIERS[kind]
  target: Any = None
  if pair_list is not None:
    if made.learns != "pairs":
      raise ValueError(f"{kind} learns from {made.learns}, not from a list of pairs")
    listed = matched(pair_list if isinstance(pair_list, Pairs) else read_pairs(pair_list), given.names)
    target = RowPairs(*rows_of_pairs(given.names, listed), listed.same)
  elif made.learns != "nothing":
    if given.label_n is None:
      raise ValueError(f"{where}: has no labels, which {kind} learns from: `jaxface embed` writes those of a folder per person")
    target = given.label_n
  if "say" in inspect.signature(made.fit).parameters:
    options["say"] = say
  about: dict[str, Any] = {name: given.meta[name] for name in MADE_WITH if name in given.meta}
  about |= {"images": len(given.names)} | ({} if given.label_n is None else {"people": len(np.unique(given.label_n))})
  for row in np.flatnonzero(~np.isfinite(given.embedding_nd).all(1))[:1]:
    raise ValueError(f"{where}: the embedding of {given.names[row]!r} is not finite")
  try:
    verifier = replace(made.fit(given.embedding_nd, target, **options), made_from=about)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error
  if out is not None:
    write_verifier(out, verifier)
  return verifier


def settings_of(kind: str) -> list[str]:
  """Names of the settings of a kind."""
  parameters = inspect.signature(VERIFIERS[kind].fit).parameters.values()
  return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "say"]


__all__ = ["fit_verifier", "settings_of"]
