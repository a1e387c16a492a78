"""Class centres that do not begin at random: kept from another run by the names of identities, or at mean embeddings.

A finished run leaves its centres with the names of their identities in `centers_TERM.npz` of its workdir, one row per
identity: its K sub-centres one after the other, then its bias where the margin has one. They lie there and not in the model
directory, since names and centres together are templates of the training set's people.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.heads.classification import Classification
from jaxface.losses.term import Term
from jaxface.losses.unit import unit_rows
from jaxface.training.parts import Data, Network, Objective
from jaxface.training.state import TrainState

# So many images of an identity give its mean embedding.
MEAN_IMAGES = 8
# So many identities show whether centres belong to the people of their names.
_COMPARED = 512

Tree = Any


@dataclass(frozen=True)
class Means:
  """Mean embedding of each identity.

  Attributes:
    raw_cd: [C, D] mean of the embeddings.
    unit_cd: [C, D] mean of the embeddings scaled to length one.
    seen_c: [C] whether an image of it was read.
  """

  raw_cd: np.ndarray
  unit_cd: np.ndarray
  seen_c: np.ndarray


class _Some:
  """An order: a list of records, then the same again."""

  def __init__(self, record_n: np.ndarray):
    self.record_n = record_n

  def rows(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position_n = np.arange(start, stop)
    turn_n, index_n = np.divmod(position_n, len(self.record_n))
    return np.zeros(len(position_n), np.int64), self.record_n[index_n], turn_n


def mean_embeddings(network: Network, variables: Tree, data: Data, mesh: Mesh, batch_size: int) -> Means:
  """Mean embeddings of the first `MEAN_IMAGES` images of each identity, in inference, over all devices of the mesh."""
  source = data.source
  label_n = np.asarray(source.label_n)
  by_label_n = np.argsort(label_n, kind="stable")
  first_n = np.searchsorted(label_n[by_label_n], label_n[by_label_n])
  record_n = np.sort(by_label_n[np.arange(len(label_n)) - first_n < MEAN_IMAGES])
  everywhere = NamedSharding(mesh, P())

  def embed(variables: Tree, image_bhwc: Array) -> Any:
    return network.module.apply(variables, network.preprocess.apply(image_bhwc), train=False)

  def add(total: tuple[Array, Array, Array], variables: Tree, batch: dict[str, Array]) -> tuple[Array, Array, Array]:
    raw_cd, unit_cd, count_c = total
    embedding_bd = jnp.asarray(embed(variables, batch["image"]), jnp.float32)
    # What lies behind the end of the list fills the last batch.
    weight_b = (batch["position"] < len(record_n)).astype(jnp.float32)
    label_b = batch["label"]
    raw_cd = raw_cd.at[label_b].add(embedding_bd * weight_b[:, None])
    unit_cd = unit_cd.at[label_b].add(unit_rows(embedding_bd)[0] * weight_b[:, None])
    return raw_cd, unit_cd, count_c.at[label_b].add(weight_b)

  image = jax.ShapeDtypeStruct((1, *source.image_shape), jnp.uint8)
  size = jax.eval_shape(embed, variables, image).shape[-1]
  shape = (source.num_identities, size)
  total = jax.device_put((jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape[:1])), everywhere)
  step = jax.jit(add, donate_argnums=0, out_shardings=everywhere)
  listed = replace(data, order=_Some(record_n))
  with listed.loader(batch_size, mesh, steps=-(-len(record_n) // batch_size)) as loader:
    for batch in loader:
      total = step(total, variables, batch)
  raw_cd, unit_cd, count_c = jax.device_get(total)
  count_c1 = np.maximum(count_c, 1)[:, None]
  return Means(raw_cd / count_c1, unit_cd / count_c1, count_c > 0)


def _place(params: Tree, state: Tree) -> tuple[str, dict[str, Any]] | None:
  """Where a term has its centres: "params" or "state", and the dictionary with center_cd."""
  for where, tree in (("params", params), ("state", state)):
    if isinstance(tree, dict) and "center_cd" in tree:
      return where, tree
  return None


def centers_file(workdir: Path, term: str) -> Path:
  """Where a run keeps the centres of a term."""
  return workdir / f"centers_{term}.npz"


def read_out(objective: Objective, state: TrainState, mesh: Mesh) -> dict[str, np.ndarray]:
  """Centres by term as rows [C, K·D] or, with biases, [C, K·D + 1]; all hosts must call it."""
  tables = {}
  for name, term, params, own in zip(objective.names, objective.terms, state.params["terms"], state.terms):
    place = _place(params, own)
    if place is None:
      continue
    tables[name] = _rows(_whole(place[1], mesh), objective.num_classes, _subcenters(term))
  return tables


def _whole(tree: dict[str, Any], mesh: Mesh) -> dict[str, np.ndarray]:
  """Copies of a term's centres and biases, gathered from all devices of all hosts."""
  gather = jax.jit(lambda leaf: leaf, out_shardings=NamedSharding(mesh, P()))
  return {key: np.array(gather(leaf)) for key, leaf in tree.items() if key in ("center_cd", "bias_c")}


def _subcenters(term: Term) -> int:
  """Centres of each class, see `jaxface.heads.Head.init`."""
  return getattr(getattr(getattr(term, "margin", None), "geometry", None), "subcenters", 1)


def _rows(leaves: dict[str, np.ndarray], num_classes: int, subcenters: int) -> np.ndarray:
  rows = leaves["center_cd"][: num_classes * subcenters].reshape(num_classes, -1)
  if "bias_c" in leaves:
    rows = np.concatenate([rows, leaves["bias_c"][:num_classes, None]], axis=1)
  return rows


def save_centers(workdir: Path, tables: dict[str, np.ndarray], names: list[str]) -> None:
  """Write the centres of a finished run."""
  for term, rows in tables.items():
    write_embeddings(centers_file(workdir, term), Embeddings(rows.astype(np.float32), names, None, {"centers": term}))


def start_centers(
  objective: Objective, state: TrainState, mesh: Mesh, means: Means | None, names: list[str] | None, origin: Path | None
) -> tuple[TrainState, list[str]]:
  """The first state with centres kept from another run and those at mean embeddings, and lines that say which.

  Args:
    objective: of the run.
    state: before the first step; its other centres stay as they are.
    mesh: of the run.
    means: of the training set, None where nothing needs them.
    names: of the training set's identities, by label; None where they have none.
    origin: folder with the other run's centres, None for none.
  """
  lines, params, states = [], list(state.params["terms"]), list(state.terms)
  for index, (name, term) in enumerate(zip(objective.names, objective.terms)):
    place = _place(params[index], states[index])
    if place is None:
      continue
    where, tree = place
    new = _whole(tree, mesh)
    count = len(means.seen_c) if means is not None else len(names or ())
    by_mean_c = np.zeros(count, bool)
    if isinstance(term, Classification) and term.center_init == "mean_embedding" and means is not None:
      by_mean_c = means.seen_c.copy()
      _begin_at_means(new, term, means)
    kept_c, line = _keep(new, origin, name, names, _subcenters(term), means)
    by_mean_c &= ~kept_c if len(kept_c) else True
    others = count - int(by_mean_c.sum()) - int(kept_c.sum())
    told = [line] if line else []
    told += [f"{by_mean_c.sum():,} at mean embeddings"] if by_mean_c.any() else []
    told += [f"{others:,} as in a new run"] if others and told else []
    if told:
      lines.append(f"class centres of {name}: " + ", ".join(told))
    put = {key: jax.device_put(value, tree[key].sharding) for key, value in new.items()}
    (params if where == "params" else states)[index] = {**tree, **put}
  return state._replace(params={**state.params, "terms": tuple(params)}, terms=tuple(states)), lines


def _begin_at_means(new: dict[str, np.ndarray], term: Classification, means: Means) -> None:
  """Centres at the means: of length one where the head divides by it; a bias makes it the nearest mean."""
  geometry = term.margin.geometry
  mean_cd = means.unit_cd if geometry.unit_x else means.raw_cd
  if geometry.unit_w:
    mean_cd = mean_cd / np.maximum(np.linalg.norm(mean_cd, axis=1, keepdims=True), 1e-12)
  count, size = mean_cd.shape
  drawn_ckd = new["center_cd"][: count * geometry.subcenters].reshape(count, geometry.subcenters, size)
  begun_ckd = mean_cd[:, None] + drawn_ckd
  begun_ckd[:, 0] = mean_cd  # the first at the mean, the others around it: equal ones would stay equal for ever
  drawn_ckd[means.seen_c] = begun_ckd[means.seen_c]
  if "bias_c" in new and not geometry.unit_w:
    # x·μ − ½‖μ‖² is largest for the nearest mean.
    new["bias_c"][:count][means.seen_c] = -0.5 * np.square(mean_cd).sum(axis=1)[means.seen_c]


def _keep(
  new: dict[str, np.ndarray], origin: Path | None, term: str, names: list[str] | None, subcenters: int, means: Means | None
) -> tuple[np.ndarray, str]:
  """Copies the other run's centres to the identities of the same name; which, and what to say of it."""
  none_c = np.zeros(len(names or ()), bool)
  if origin is None or names is None or not centers_file(origin, term).is_file():
    return none_c, ""
  theirs = read_embeddings(centers_file(origin, term))
  row_of = {name: row for row, name in enumerate(theirs.names)}
  found_c = np.array([row_of.get(name, -1) for name in names])
  kept_c = found_c >= 0
  if not kept_c.any():
    return none_c, f"none of {len(names):,} identities is named in {origin}"
  own = _rows(new, len(names), subcenters)
  if own.shape[1] != theirs.embedding_nd.shape[1]:
    return none_c, f"those of {origin} are left, of {theirs.embedding_nd.shape[1]} numbers each where this head has {own.shape[1]}"
  rows = theirs.embedding_nd[found_c[kept_c]]
  size = new["center_cd"].shape[1]
  if means is not None and _names_lie(rows[:, :size], means.unit_cd[kept_c]):
    return none_c, (
      f"those of {origin} are left: {kept_c.sum():,} identities have the same names, but their centres do not point"
      " to their images: other people, or centres that were hardly trained"
    )
  center_ckd = new["center_cd"][: len(names) * subcenters].reshape(len(names), -1)
  center_ckd[kept_c] = rows[:, : subcenters * size]
  if "bias_c" in new:
    new["bias_c"][: len(names)][kept_c] = rows[:, -1]
  return kept_c, f"{kept_c.sum():,} of {len(names):,} kept from {origin} by name"


def _names_lie(center_kd: np.ndarray, mean_kd: np.ndarray) -> bool:
  """Whether centres find the identity of their name among the others hardly more often than chance would."""
  center_kd, mean_kd = center_kd[:_COMPARED], mean_kd[:_COMPARED]
  center_kd, mean_kd = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (center_kd, mean_kd))
  found = float(np.mean(np.argmax(center_kd @ mean_kd.T, axis=1) == np.arange(len(center_kd))))
  return found < min(0.5, 0.1 + 2 / len(center_kd))


__all__ = ["MEAN_IMAGES", "Means", "centers_file", "mean_embeddings", "read_out", "save_centers", "start_centers"]
