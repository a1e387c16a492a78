"""Embeds images: batched, sharded over all devices, optionally with the mirror image."""

import logging
from collections.abc import Callable, Sequence
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
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import UNKNOWN_TEMPLATES
from jaxface.inference.crops import CROPS, mean_of_crops
from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel
from jaxface.training.hosts import sign_of_life

Tree = Any

# Number of unusable images that the message names; the metadata name all.
NAMED = 5
_log = logging.getLogger(__name__)


def make_embedder(
  model: nn.Module, preprocess: Preprocess, *, mirror: str = "sum", raw: bool = False, crops: str = "one"
) -> Callable[[Tree, Array], Array]:
  """A compiled function (variables, image [B, H, W, C] uint8) -> [B, D] float32 of unit length.

  Args:
    model: the network.
    preprocess: its input convention.
    mirror: "sum" embeds the mirror image too and adds both before normalising; "concat" appends it, which doubles the length;
      "none" does not use it.
    raw: do not normalise.
    crops: one of `CROPS`: "one" embeds the face, "ten" and "thirty" the mean over five crops at one or three sizes, each with
      its mirror image as `mirror` says.
  Raises:
    ValueError: unknown `mirror` or `crops`.
  """
  check_name("mirror", mirror, MIRRORS)
  check_name("crops", crops, list(CROPS))

  @jax.jit
  def embed(variables: Tree, image_bhwc: Array) -> Array:
    def network(x_bhwc: Array) -> Array:
      return with_mirror(lambda x: model.apply(variables, x, train=False), x_bhwc, mirror)

    embedding_bd = mean_of_crops(network, image_bhwc, preprocess, crops)
    if raw:
      return embedding_bd
    return _unit(embedding_bd)

  return embed


def with_mirror(network: Callable[[Array], Any], x_bhwc: Array, mirror: str) -> Array:
  """Embeddings of images combined with those of their mirror images.

  Args:
    network: maps images to embeddings [B, D].
    x_bhwc: [B, H, W, C] in the network's input convention.
    mirror: see `make_embedder`.
  Returns:
    [B, D] float32, [B, 2·D] for "concat"; not normalised.
  """
  check_name("mirror", mirror, MIRRORS)
  embedding_bd = jnp.asarray(network(x_bhwc), jnp.float32)
  if mirror == "none":
    return embedding_bd
  mirrored_bd = jnp.asarray(network(x_bhwc[:, :, ::-1]), jnp.float32)
  if mirror == "concat":
    return jnp.concatenate([embedding_bd, mirrored_bd], axis=1)
  return embedding_bd + mirrored_bd


def _unit(embedding_bd: Array) -> Array:
  """Rows of length one; a row of zeros stays zero.

  Each row is first scaled by a power of two: an untrained residual network of a hundred units has outputs around 1e22, whose
  squares overflow float32.
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
  unreadable: dict[int, DamagedData] | None = None,
  devices: int = 0,
) -> np.ndarray:
  """Embeddings [N, D] float32 of every image of a source, in its order; the batch is sharded over devices of this host.

  Args:
    embedder: function from `make_embedder`.
    variables: variables of the network.
    source: the images.
    batch_size: images per batch over all devices.
    progress: show a progress bar.
    unreadable: receives the error of each unreadable record by number; such records have no row in the result.
    devices: how many of this host's devices to use, 0 for all.
  Raises:
    ValueError: more devices than this host has.
    DamagedData: a record cannot be read, and `unreadable` is None.
  """
  variables, sharding = spread(variables, devices)
  count = len(sharding.device_set)
  batch_size = -(-batch_size // count) * count
  parts: list[np.ndarray] = []
  waiting: tuple[Array, np.ndarray] | None = None
  with tqdm(total=source.num_records, unit="img", desc="embed", disable=not progress) as bar:
    for image, weight in batches(source, batch_size, unreadable):
      # The host decodes the next batch while the device computes this one.
      result = embedder(variables, jax.device_put(image, sharding))
      if waiting is not None:
        parts.append(np.asarray(waiting[0])[waiting[1]])
      waiting = (result, weight > 0)
      bar.update(int(weight.sum()))
      sign_of_life()
    if waiting is not None:
      parts.append(np.asarray(waiting[0])[waiting[1]])
  return np.concatenate(parts)


def spread(variables: Tree, devices: int = 0) -> tuple[Tree, NamedSharding]:
  """Variables replicated on this host's devices, and the sharding of batches over them.

  Args:
    variables: variables of a network.
    devices: how many of this host's devices to use, 0 for all.
  Raises:
    ValueError: more devices than this host has.
  """
  local = jax.local_devices()
  count = devices or len(local)
  if not 0 < count <= len(local):
    raise ValueError(f"devices is {devices}, but this host has {len(local)}: {local}")
  mesh = Mesh(np.asarray(local[:count]), ("data",), axis_types=(AxisType.Auto,))
  # Each host embeds separately, with its own copy of replicated variables.
  return jax.device_put(jax.tree.map(_on_this_host, variables), NamedSharding(mesh, P())), NamedSharding(mesh, P("data"))


def _on_this_host(leaf: Any) -> Any:
  whole = not isinstance(leaf, Array) or leaf.is_fully_addressable
  return leaf if whole else leaf.addressable_data(0)


def check_template(images: str, model: str) -> list[str]:
  """Rejects images with another alignment template than the network's; "unknown", "none" and "" are no templates.

  Args:
    images: template of the images.
    model: template of the faces that the network was trained on.
  Returns:
    A line for the user if one of them is unknown, else none.
  Raises:
    ValueError: both are known and differ.
  """
  if images == model or {images, model} <= UNKNOWN_TEMPLATES:
    return []
  if images in UNKNOWN_TEMPLATES:
    how = "these images are aligned to no template" if images == "none" else "the alignment of these images is unknown"
    return [f"the network takes faces aligned to template {model!r}; {how}. Embeddings of faces with another alignment are unreliable."]
  if model in UNKNOWN_TEMPLATES:
    return [f"the images are aligned to template {images!r}; the template of the network is unknown."]
  raise ValueError(
    f"the images are aligned to template {images!r}, the model takes {model!r}: align the images again, choose another"
    f" model, or, if they are in fact aligned to it, pack them with --template {model}"
  )


def unusable(errors: Sequence[DamagedData], count: int) -> str:
  """A line for the user on the images, of `count`, that cannot be used and are skipped; names the first of them."""
  more = f"; and {len(errors) - NAMED:,} more" if len(errors) > NAMED else ""
  return f"{len(errors):,} of {count:,} images cannot be used and are skipped: {'; '.join(map(str, errors[:NAMED]))}{more}"


def embed_source(
  saved: SavedModel, source: Source, *, mirror: str = "sum", raw: bool = False, crops: str = "one", batch_size: int = 128, progress: bool = False,
  skip_unreadable: bool = False, say: Callable[[str], object] = _log.info, devices: int = 0,
  embedder: Callable[[Tree, Array], Array] | None = None,
) -> Embeddings:
  """Embed every image of a source with a saved model.

  Args:
    saved: a trained or imported model.
    source: anything with `num_records`, `label_n`, `names()`, `template` and `read` (see `jaxface.data`).
    mirror: use of the mirror image, see `make_embedder`.
    raw: do not normalise, for methods that are fitted on raw outputs.
    crops: see `make_embedder`.
    batch_size: images per batch over all devices; the result does not depend on it.
    progress: show a progress bar.
    skip_unreadable: skip unreadable images, with a message and their names in `meta["unreadable"]`.
    say: called with each line for the user.
    devices: how many of this host's devices to use, 0 for all.
    embedder: result of `make_embedder` for this model, mirror, raw and crops, to reuse it: a new one compiles again.
  Returns:
    Embeddings, of unit length unless raw, with names and labels.
  Raises:
    ValueError: the images were aligned to another template than the model was trained on.
    DamagedData: an image cannot be read or has an invalid size; with `skip_unreadable`: most of them.
  """
  for line in check_template(source.template, saved.preprocess.template):
    say(line)
  embedder = embedder or make_embedder(saved.module, saved.preprocess, mirror=mirror, raw=raw, crops=crops)
  unreadable: dict[int, DamagedData] = {}
  embedding_nd = embed_images(
    embedder, saved.variables, source, batch_size=batch_size, progress=progress,
    unreadable=unreadable if skip_unreadable else None, devices=devices,
  )
  names = source.names()
  if unreadable:
    errors = list(unreadable.values())
    if 2 * len(unreadable) > source.num_records:
      lost = f"{len(unreadable):,} of {source.num_records:,} images cannot be used"
      raise DamagedData(f"{errors[0].what}. {lost}; this is the first", file=errors[0].file, offset=errors[0].offset,
                        record=errors[0].record)
    say(unusable(errors, source.num_records))
  read_n = np.array([record for record in range(source.num_records) if record not in unreadable], np.int64)
  meta = {
    "model": saved.name, "model_digest": saved.digest, "preprocess": saved.preprocess.name, "template": source.template, "mirror": mirror, "raw": raw,
    **({"crops": crops} if crops != "one" else {}),
    **({"unreadable": [names[record] for record in unreadable]} if unreadable else {}),
  }
  label_n = np.asarray(source.label_n, np.int64)[read_n]
  return Embeddings(embedding_nd, [names[record] for record in read_n], label_n, meta)
