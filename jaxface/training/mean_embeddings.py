"""Mean embedding of each identity of a training set, as initial class centres."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxface.losses.unit import unit_rows
from jaxface.training.parts import Data, Network

# Number of images of an identity for its mean embedding.
MEAN_IMAGES = 8

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
    # Rows after the end of the list fill the last batch.
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


__all__ = ["MEAN_IMAGES", "Means", "mean_embeddings"]
