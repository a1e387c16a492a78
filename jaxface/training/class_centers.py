"""Initial class centres that are not random: loaded from another run by the names of identities, or mean embeddings.

A finished run saves its centres with the names of their identities in `centers_TERM.npz` of its workdir, one row per
identity: its K sub-centres one after the other, then its bias if the margin has one. They are not in the model
directory, since names and centres together are templates of the training set's people.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.formats.embedding_parts import EmbeddingParts, write_embedding_parts
from jaxface.heads.classification import Classification
from jaxface.losses.joint import Geometry
from jaxface.losses.term import Term
from jaxface.training.center_table import BLOCK, CenterTable
from jaxface.training.mean_embeddings import Means
from jaxface.training.parts import Objective
from jaxface.training.state import TrainState

# Number of identities that show whether centres belong to the people of their names.
_COMPARED = 512

Tree = Any


def centers_file(workdir: Path, term: str) -> Path:
  """The file in which a run saves the centres of a term."""
  return workdir / f"centers_{term}.npz"


def read_out(objective: Objective, state: TrainState, mesh: Mesh) -> dict[str, CenterTable]:
  """Centres by term."""
  tables = {}
  for name, term, params, own in zip(objective.names, objective.terms, state.params["terms"], state.terms):
    place = _place(params, own)
    if place is not None:
      tables[name] = _table(objective, term, place[1], mesh)
  return tables


def save_centers(workdir: Path, tables: dict[str, CenterTable], names: list[str]) -> None:
  """Write the centres of a finished run in parts; all hosts must call it, and the first one writes."""
  for term, table in tables.items():
    if jax.process_index():
      for _ in table.blocks():
        pass
    else:
      write_embedding_parts(centers_file(workdir, term), names, table.size, table.blocks(), {"centers": term})


def start_centers(
  objective: Objective, state: TrainState, mesh: Mesh, means: Means | None, names: list[str] | None, origin: Path | None
) -> tuple[TrainState, list[str]]:
  """The first state with centres loaded from another run and mean embeddings, and notes on them.

  Args:
    objective: of the run.
    state: before the first step; its other centres do not change.
    mesh: of the run.
    means: of the training set; None if nothing needs them.
    names: of the training set's identities, by label; None if they have none.
    origin: folder with the other run's centres, None for none.
  """
  lines, params, states = [], list(state.params["terms"]), list(state.terms)
  for index, (name, term) in enumerate(zip(objective.names, objective.terms)):
    place = _place(params[index], states[index])
    if place is None:
      continue
    where, tree = place
    table = _table(objective, term, tree, mesh)
    count = len(means.seen_c) if means is not None else len(names or ())
    by_mean_c = np.zeros(count, bool)
    if isinstance(term, Classification) and term.center_init == "mean_embedding" and means is not None:
      by_mean_c = means.seen_c.copy()
      _begin_at_means(table, term.margin.geometry, means)
    kept_c, line = _load(table, origin, name, names, means)
    by_mean_c &= ~kept_c if len(kept_c) else True
    others = count - int(by_mean_c.sum()) - int(kept_c.sum())
    told = [line] if line else []
    told += [f"{by_mean_c.sum():,} at mean embeddings"] if by_mean_c.any() else []
    told += [f"{others:,} as in a new run"] if others and told else []
    if told:
      lines.append(f"class centres of {name}: " + ", ".join(told))
    (params if where == "params" else states)[index] = {**tree, **table.leaves}
  return state._replace(params={**state.params, "terms": tuple(params)}, terms=tuple(states)), lines


def _place(params: Tree, state: Tree) -> tuple[str, dict[str, Any]] | None:
  """Where a term has its centres: "params" or "state", and the dictionary with center_cd."""
  for where, tree in (("params", params), ("state", state)):
    if isinstance(tree, dict) and "center_cd" in tree:
      return where, tree
  return None


def _table(objective: Objective, term: Term, tree: dict[str, Any], mesh: Mesh) -> CenterTable:
  # Centres of each class, see `jaxface.heads.Head.init`.
  subcenters = getattr(getattr(getattr(term, "margin", None), "geometry", None), "subcenters", 1)
  leaves = {name: leaf for name, leaf in tree.items() if name in ("center_cd", "bias_c")}
  return CenterTable(leaves, objective.num_classes, subcenters, mesh)


def _begin_at_means(table: CenterTable, geometry: Geometry, means: Means) -> None:
  """Sets centres to the means: of length one if the head normalises; a bias makes it the nearest mean."""
  for start in range(0, len(means.seen_c), BLOCK):
    stop = min(start + BLOCK, len(means.seen_c))
    mean_cd = (means.unit_cd if geometry.unit_x else means.raw_cd)[start:stop]
    if geometry.unit_w:
      mean_cd = mean_cd / np.maximum(np.linalg.norm(mean_cd, axis=1, keepdims=True), 1e-12)
    count, size = mean_cd.shape
    rows = table.read(start)[:count].copy()
    drawn_ckd = rows[:, : geometry.subcenters * size].reshape(count, geometry.subcenters, size)
    begun_ckd = mean_cd[:, None] + drawn_ckd
    begun_ckd[:, 0] = mean_cd  # the first at the mean, the others around it: equal ones would never become different
    rows[:, : geometry.subcenters * size] = begun_ckd.reshape(count, -1)
    if geometry.bias and not geometry.unit_w:
      # x·μ − ½‖μ‖² is largest for the nearest mean.
      rows[:, -1] = -0.5 * np.square(mean_cd).sum(axis=1)
    seen_c = means.seen_c[start:stop]
    table.put(start + np.flatnonzero(seen_c), rows[seen_c])


def _load(
  table: CenterTable, origin: Path | None, term: str, names: list[str] | None, means: Means | None
) -> tuple[np.ndarray, str]:
  """Loads the other run's centres of identities with the same name; which ones, and a note."""
  none_c = np.zeros(len(names or ()), bool)
  if origin is None or names is None or not centers_file(origin, term).is_file():
    return none_c, ""
  theirs = EmbeddingParts.open(centers_file(origin, term))
  label_of = {name: label for label, name in enumerate(names)}
  if not any(len(label_n) for label_n, _ in _common(theirs, label_of)):
    return none_c, f"none of {len(names):,} identities is named in {origin}"
  if table.size != theirs.size:
    return none_c, f"those of {origin} are not used: they have {theirs.size} numbers each where this head has {table.size}"
  if means is not None and _names_lie(theirs, label_of, means):
    found = sum(len(label_n) for label_n, _ in _common(theirs, label_of))
    return none_c, (
      f"those of {origin} are not used: {found:,} identities have the same names, but their centres do not point"
      " to their images: other people, or centres that were hardly trained"
    )
  kept_c = none_c.copy()
  for label_n, row_nd in _common(theirs, label_of):
    table.put(label_n, row_nd)
    kept_c[label_n] = True
  return kept_c, f"{kept_c.sum():,} of {len(names):,} kept from {origin} by name"


def _common(theirs: EmbeddingParts, label_of: dict[str, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Labels of the identities that a file has too, and their rows, in parts."""
  for names, row_nd in theirs.parts(BLOCK):
    label_n = np.array([label_of.get(name, -1) for name in names], np.int64)
    yield label_n[label_n >= 0], row_nd[label_n >= 0]


def _names_lie(theirs: EmbeddingParts, label_of: dict[str, int], means: Means) -> bool:
  """Whether centres find the identity of their name among the others hardly more often than by chance."""
  label_n, row_nd = np.zeros(0, np.int64), np.zeros((0, theirs.size), np.float32)
  for some_n, some_nd in _common(theirs, label_of):
    label_n, row_nd = np.concatenate([label_n, some_n]), np.concatenate([row_nd, some_nd])
    if len(label_n) >= _COMPARED:
      break
  order = np.argsort(label_n)[:_COMPARED]
  mean_kd = means.unit_cd[label_n[order]]
  center_kd = row_nd[order, : mean_kd.shape[1]]
  center_kd, mean_kd = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (center_kd, mean_kd))
  found = float(np.mean(np.argmax(center_kd @ mean_kd.T, axis=1) == np.arange(len(center_kd))))
  return found < min(0.5, 0.1 + 2 / len(center_kd))


__all__ = ["centers_file", "read_out", "save_centers", "start_centers"]
