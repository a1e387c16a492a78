"""A loaded model: call it on arrays, or embed files."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from tqdm import tqdm

from jaxface.data.source import Source
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.images import decode_image
from jaxface.formats.provenance import summary
from jaxface.formats.threshold import Threshold
from jaxface.inference.embed import embed_source, make_embedder, spread
from jaxface.inference.sources import open_faces
from jaxface.models.card import lineage_of
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel, count_parameters, load_model
from jaxface.models.threshold import with_threshold

_log = logging.getLogger(__name__)

TAKEN = "a folder of images, packed records, a path or a list of paths, or an array [H, W, C] or [N, H, W, C]"


class Model:
  """A network with its variables and input convention.

  Args:
    saved: result of `load_model` or an importer.
  """

  def __init__(self, saved: SavedModel):
    self.saved = saved
    self._embedders: dict[tuple[str, bool, str], Any] = {}

  @property
  def name(self) -> str:
    """Name of the network, for `jaxface.models.create`."""
    return self.saved.name

  @property
  def preprocess(self) -> Preprocess:
    """The input convention: size, colour order, range, template, crop or resize."""
    return self.saved.preprocess

  @property
  def input_size(self) -> tuple[int, int]:
    """Height and width of the input in pixels."""
    return self.preprocess.size

  @property
  def template(self) -> str:
    """Alignment template of the faces that the network was trained on."""
    return self.preprocess.template

  @property
  def dtype(self) -> str:
    """dtype of the computation: "float32" or "bfloat16"."""
    return str(self.saved.options.get("dtype", "float32"))

  @property
  def licence(self) -> str:
    """Licences of the images and weights that the model was made from; "unknown" if not specified."""
    return summary(lineage_of(self.meta), "licence")

  @property
  def origin(self) -> str:
    """Origin of the images and weights that the model was made from; "unknown" if not specified."""
    return summary(lineage_of(self.meta), "origin")

  @property
  def meta(self) -> dict[str, Any]:
    """Metadata of the weights: source, training, versions; plain JSON values."""
    return self.saved.meta

  @property
  def threshold(self) -> Threshold | None:
    """The threshold that `jaxface threshold --write` measured: the same person if cosine >= threshold.value; None without one.

    It holds for embeddings with the mirror setting `threshold.mirror`.
    """
    return self.saved.own_threshold

  @cached_property
  def embedding_size(self) -> int:
    """Length of an embedding with mirror "sum" or "none"."""
    return self.saved.embedding_size

  @cached_property
  def num_parameters(self) -> int:
    """Number of parameters."""
    return count_parameters(self.saved.variables["params"])

  def __repr__(self) -> str:
    return (
      f"<jaxface model {self.name}: {self.embedding_size}-d, {self.num_parameters:,} parameters, {self.dtype}, takes"
      f" {self.preprocess}, licence {self.licence}>"
    )

  def __call__(self, images: Any, *, mirror: str = "sum", raw: bool = False, crops: str = "one") -> Array:
    """Embeddings of images in memory; compiled once per shape; works inside `jax.jit`.

    Args:
      images: [B, H, W, C] or one image [H, W, C], aligned, RGB; uint8, or float in 0..255. Images that the convention crops or resizes
        may have another size than `input_size`.
      mirror: "sum" adds the embedding of the mirror image, "concat" appends it, "none" does not use it.
      raw: do not normalise; by default each embedding has length one.
      crops: "one" embeds the face; "ten" the mean over its corners and its middle, "thirty" at three sizes, as VGG-Face does.
    Returns:
      [B, D] float32, or [D] for one image.
    Raises:
      ValueError: images of another rank, size, dtype or range than the convention takes.
    """
    image_bhwc = images if isinstance(images, Array) else np.asarray(images)
    if image_bhwc.ndim not in (3, 4):
      raise ValueError(f"images have shape {image_bhwc.shape}: expected [B, H, W, C], or [H, W, C] for one image")
    one = image_bhwc.ndim == 3
    embedding_bd = self._embedder(mirror, raw, crops)(self._variables, jnp.asarray(image_bhwc[None] if one else image_bhwc))
    return embedding_bd[0] if one else embedding_bd

  def embed(
    self, source: Any, *, mirror: str = "sum", raw: bool = False, crops: str = "one", batch_size: int = 128, progress: bool = False
  ) -> np.ndarray:
    """Embeddings of any number of images, in batches that are sharded over all devices of this host.

    Args:
      source: a folder of images (searched to any depth, in sorted order), packed records, one path or a list of paths of
        images, an array [N, H, W, C] or one image [H, W, C], or a `jaxface.data.Source`.
      mirror: as in `__call__`.
      raw: as in `__call__`.
      crops: as in `__call__`.
      batch_size: images per batch over all devices; the result does not depend on it.
      progress: show a progress bar.
    Returns:
      [N, D] float32 in the order of the source (packed records are shuffled: `embed_named` gives the names); N is 1 for
      one image.
    Raises:
      ValueError: an unsupported source, or images with another template than the model's.
      DamagedData: an unreadable image; names the file.
    """
    settings: dict[str, Any] = {"mirror": mirror, "raw": raw, "crops": crops, "batch_size": batch_size, "progress": progress}
    if isinstance(source, (str, Path)) and not Path(source).is_dir():
      source = [source]
    if isinstance(source, (str, Path)) or hasattr(source, "read"):
      return self.embed_named(source, **settings).embedding_nd
    if isinstance(source, Sequence) and all(isinstance(path, (str, Path)) for path in source):
      return self._embed(_decoded(source), len(source), **settings)
    if isinstance(source, (np.ndarray, Array)) and source.ndim in (3, 4):
      image_nhwc = source[None] if source.ndim == 3 else source
      return self._embed(iter(image_nhwc), len(image_nhwc), **settings)
    raise ValueError(f"cannot embed {type(source).__name__}: expected {TAKEN}")

  def embed_named(
    self, source: str | Path | Source, *, mirror: str = "sum", raw: bool = False, crops: str = "one", batch_size: int = 128,
    progress: bool = False, template: str = "", skip_unreadable: bool = False, devices: int = 0, say: Callable[[str], object] = _log.info,
  ) -> Embeddings:
    """The same for a folder, packed records or a `Source`, with names and labels, as `jaxface.verify` and files take them.

    Args:
      source: a folder of images, one image, packed records, or a `jaxface.data.Source`.
      mirror: as in `__call__`.
      raw: as in `__call__`.
      crops: as in `__call__`.
      batch_size: images at a time over all devices; the result does not depend on it.
      progress: draw a progress bar.
      template: as in `open`.
      skip_unreadable: leave out images that cannot be read, named and counted, with their names in `meta["unreadable"]`.
      devices: how many of this host's devices to use, 0 for all.
      say: called with each line for the user.
    Raises:
      ValueError: see `open`; images aligned to another template than the model takes; a number out of its range.
      DamagedData: an image that cannot be read; with `skip_unreadable` most of them.
    """
    if batch_size < 1:
      raise ValueError(f"batch_size is {batch_size}: at least 1 is needed")
    opened = self.open(source, template)
    for note in getattr(opened, "notes", ()):
      say(note)
    found = embed_source(
      self.saved, opened, mirror=mirror, raw=raw, crops=crops, batch_size=batch_size, progress=progress, skip_unreadable=skip_unreadable,
      devices=devices, say=say, embedder=self._embedder(mirror, raw, crops),
    )
    # Terms and size go with the embeddings, for the model card of an evaluation.
    about = {"licence": self.licence, "origin": self.origin, "parameters": self.num_parameters}
    return replace(found, meta={**found.meta, **about})

  def open(self, path: str | Path | Source, template: str = "") -> Source:
    """A folder of images, one image, or packed records, as the source that this model reads.

    Args:
      path: of them.
      template: how the faces of a folder are aligned, where that is known, "none" for aligned to none.
    Raises:
      ValueError: an unknown template, or one beside packed records, which carry theirs.
      FileNotFoundError: there is nothing.
    """
    return open_faces(path, self.preprocess, template)

  @cached_property
  def _variables(self) -> Any:
    return jax.tree.map(jnp.asarray, self.saved.variables)

  @cached_property
  def _spread(self) -> tuple[Any, NamedSharding]:
    return spread(self.saved.variables)

  def _embedder(self, mirror: str, raw: bool, crops: str = "one") -> Any:
    key = mirror, raw, crops
    if key not in self._embedders:
      self._embedders[key] = make_embedder(self.saved.module, self.preprocess, mirror=mirror, raw=raw, crops=crops)
    return self._embedders[key]

  def _embed(
    self, images: Iterator[np.ndarray], count: int, *, mirror: str, raw: bool, crops: str, batch_size: int, progress: bool
  ) -> np.ndarray:
    """Embeddings of images that may differ in size; batched by size."""
    if not count:
      raise ValueError("no images to embed")
    embedder, (variables, sharding) = self._embedder(mirror, raw, crops), self._spread
    devices = len(sharding.device_set)
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    found: list[tuple[list[int], Array]] = []

    def run(batch: list[tuple[int, np.ndarray]]) -> None:
      rows, image_bhwc = [row for row, _ in batch], np.stack([image for _, image in batch])
      # The last batch is padded to a power of two, so that few shapes are compiled.
      filled = min(1 << (len(rows) - 1).bit_length(), max(batch_size, len(rows)))
      filled = -(-filled // devices) * devices
      image_bhwc = np.concatenate([image_bhwc, np.repeat(image_bhwc[-1:], filled - len(rows), axis=0)])
      found.append((rows, embedder(variables, jax.device_put(image_bhwc, sharding))))

    for row, image in enumerate(tqdm(images, total=count, unit="img", desc="embed", disable=not progress)):
      kind = (*image.shape, image.dtype)
      waiting.setdefault(kind, []).append((row, np.asarray(image)))
      if len(waiting[kind]) == batch_size:
        run(waiting.pop(kind))
    for batch in waiting.values():
      run(batch)
    order = np.concatenate([np.asarray(rows) for rows, _ in found])
    return np.concatenate([np.asarray(embedding_bd)[: len(rows)] for rows, embedding_bd in found])[np.argsort(order)]


def _decoded(paths: Sequence[str | Path]) -> Iterator[np.ndarray]:
  for path in paths:
    yield decode_image(Path(path).read_bytes(), where=str(path))


def load(path: str | Path) -> Model:
  """Loads a model from a model folder or the workdir of a run.

  Args:
    path: output of `jaxface train`, `jaxface import` or `save_model`.
  Returns:
    `Model`: `model(images)`, `model.embed(folder)`.
  Raises:
    FileNotFoundError: no model there.
    DamagedModel: a model folder that cannot be used; names the file and the entry.
    WrongCheckpoint: the variables do not match the network of the folder.
    DamagedData: its threshold.json is damaged.
  """
  return Model(with_threshold(load_model(path), path))


__all__ = ["Model", "load"]
