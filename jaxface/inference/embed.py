"""Images in, embeddings out: batched, sharded over all devices, the mirror image added or set beside."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

from jaxface.data.loader import batches
from jaxface.data.source import Source
from jaxface.evaluation.config import MIRRORS
from jaxface.formats.embeddings import Embeddings
from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel

Tree = Any


def make_embedder(
  model: nn.Module, preprocess: Preprocess, *, mirror: str = "sum", raw: bool = False
) -> Callable[[Tree, Array], Array]:
  """A compiled function (variables, image [B, H, W, C] uint8) -> [B, D] float32 of unit length.

  Args:
    model: the network.
    preprocess: its input convention.
    mirror: "sum" embeds the mirror image too and adds both before normalising; "concat" sets it behind the embedding, which
      so has twice the length; "none" looks at the image alone.
    raw: leave the lengths as they are.
  Raises:
    ValueError: `mirror` is none of these.
  """
  check_name("mirror", mirror, MIRRORS)

  @jax.jit
  def embed(variables: Tree, image_bhwc: Array) -> Array:
    x = preprocess.apply(image_bhwc)
    embedding_bd = jnp.asarray(model.apply(variables, x, train=False), jnp.float32)
    if mirror != "none":
      mirrored_bd = jnp.asarray(model.apply(variables, x[:, :, ::-1], train=False), jnp.float32)
      if mirror == "concat":
        embedding_bd = jnp.concatenate([embedding_bd, mirrored_bd], axis=1)
      else:
        embedding_bd += mirrored_bd
    if raw:
      return embedding_bd
    return _unit(embedding_bd)

  return embed


def _unit(embedding_bd: Array) -> Array:
  """Rows of length one; a row of zeros stays one.

  A power of two first brings each row near one: before its first step a residual network of a hundred units ends with numbers
  around 1e22, whose squares float32 does not hold.
  """
  _, exponent_b1 = jnp.frexp(jnp.abs(embedding_bd).max(axis=-1, keepdims=True))
  near_bd = jnp.ldexp(embedding_bd, -exponent_b1)
  return near_bd / jnp.maximum(jnp.linalg.norm(near_bd, axis=-1, keepdims=True), 1e-12)


def embed_images(
  embedder: Callable[[Tree, Array], Array],
  variables: Tree,
  source: Source,
  *,
  batch_size: int = 128,
  progress: bool = False,
) -> np.ndarray:
  """Embeddings [N, D] float32 of every image of a source, in its order; the batch is spread over the local devices."""
  devices = jax.local_devices()
  batch_size = -(-batch_size // len(devices)) * len(devices)
  mesh = Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))
  sharding = NamedSharding(mesh, P("data"))
  # Of several hosts each embeds by itself, with its own copy of what all of them hold.
  variables = jax.device_put(jax.tree.map(_on_this_host, variables), NamedSharding(mesh, P()))
  parts: list[np.ndarray] = []
  waiting: tuple[Array, int] | None = None
  with tqdm(total=source.num_records, unit="img", desc="embed", disable=not progress) as bar:
    for image, weight in batches(source, batch_size):
      # The host decodes the next batch while the device works on this one.
      result = embedder(variables, jax.device_put(image, sharding))
      if waiting is not None:
        parts.append(np.asarray(waiting[0])[: waiting[1]])
      waiting = (result, int(weight.sum()))
      bar.update(waiting[1])
    if waiting is not None:
      parts.append(np.asarray(waiting[0])[: waiting[1]])
  return np.concatenate(parts)


def _on_this_host(leaf: Any) -> Any:
  whole = not isinstance(leaf, Array) or leaf.is_fully_addressable
  return leaf if whole else leaf.addressable_data(0)


def check_template(images: str, model: str) -> None:
  """Refuse images of another alignment than the network's; "none" and "" say that it is not known.

  Raises:
    ValueError: both are known and differ.
  """
  if images != model and not {images, model} & {"none", ""}:
    raise ValueError(
      f"the images are aligned to template {images!r}, the model takes {model!r}: align the images again, choose another"
      f" model, or, if they are aligned to it, say so when they are packed: --template {model}"
    )


def embed_source(
  saved: SavedModel, source: Source, *, mirror: str = "sum", raw: bool = False, batch_size: int = 128, progress: bool = False
) -> Embeddings:
  """Embed every image of a source with a saved model.

  Args:
    saved: a trained or imported model.
    source: anything with `num_records`, `label_n`, `names()`, `template` and `read` (see `jaxface.data`).
    mirror: what becomes of the embedding of the mirror image, see `make_embedder`.
    raw: leave the lengths as they are, for what is fitted on a network's own numbers.
    batch_size: images at a time over all devices; the result does not depend on it.
    progress: draw a progress bar.
  Returns:
    Embeddings, of unit length unless raw, with names and labels.
  Raises:
    ValueError: the images were aligned to another template than the model was trained on.
  """
  check_template(source.template, saved.preprocess.template)
  embedder = make_embedder(saved.module, saved.preprocess, mirror=mirror, raw=raw)
  embedding_nd = embed_images(embedder, saved.variables, source, batch_size=batch_size, progress=progress)
  meta = {
    "model": saved.name, "preprocess": saved.preprocess.name, "template": source.template, "mirror": mirror, "raw": raw,
  }
  return Embeddings(embedding_nd, list(source.names()), np.asarray(source.label_n, np.int64), meta)
