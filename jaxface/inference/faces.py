"""Embeds faces with a model and writes the embeddings to a file, in one call."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.data.source import Source
from jaxface.formats.embedding_forms import check_form, write_embedding_file
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.projector import write_projector
from jaxface.formats.unaligned import unaligned_note
from jaxface.inference.model import Model, load

_log = logging.getLogger(__name__)


def embed_faces(
  model: Model | str | Path, faces: str | Path | Source, out: str | Path | None = None, *, template: str = "",
  mirror: str = "sum", raw: bool = False, crops: str = "one", batch_size: int = 128, devices: int = 0, progress: bool = False,
  projector: str | Path | None = None, say: Callable[[str], object] = _log.info,
) -> Embeddings:
  """Embeddings of a folder or of packed records, with names and labels, in memory and in a file.

  Unreadable images are skipped and reported; `meta["unreadable"]` has their names.

  Args:
    model: a `Model`, or the path of a model folder or of the workdir of a run.
    faces: a folder of aligned images (searched to any depth), one image, packed records, or a `jaxface.data.Source`.
    out: file to write: .npz, .parquet, .npy with names beside it, or .faiss, see `jaxface.formats.write_embedding_file`; None writes none.
    template: alignment template of a folder, if known; "none" for not aligned.
    mirror: embedding of the mirrored image: "sum" adds it, "concat" appends it, "none" does not compute it.
    raw: keep the network's raw output; by default each embedding has length one.
    crops: "one" embeds the face, "ten" and "thirty" the mean over parts of it, see `jaxface.inference.CROPS`.
    batch_size: images per batch over all devices; the result does not depend on it.
    devices: number of this host's devices to use, 0 for all.
    progress: draw a progress bar.
    projector: folder to make for TensorBoard's projector, with pictures; None makes none.
    say: called with each line for the user.
  Returns:
    `Embeddings`: embedding_nd [N, D] float32 ([N, 2·D] for "concat"), N names, N labels.
  Raises:
    ValueError: an unknown suffix of `out`, an unknown mirror or template, images aligned to another template than the model's.
    FileNotFoundError: no model, or no faces, there.
    DamagedData: most images cannot be read.
  """
  if out is not None:
    check_form(out)
    # Fail before computing if the folder cannot be created.
    Path(out).parent.mkdir(parents=True, exist_ok=True)
  model = model if isinstance(model, Model) else load(model)
  if projector is not None and Path(projector).exists() and any(Path(projector).iterdir()):
    raise FileExistsError(f"{projector} exists already: choose another name or remove it")
  source = model.open(faces, template)
  if isinstance(faces, (str, Path)) and source.template == UNKNOWN_TEMPLATE and (note := unaligned_note(faces, model.input_size)):
    say(note)
  embeddings = model.embed_named(
    source, mirror=mirror, raw=raw, crops=crops, batch_size=batch_size, progress=progress, skip_unreadable=True,
    devices=devices, say=say,
  )
  if out is not None:
    size = embeddings.embedding_nd.shape[1]
    write_embedding_file(out, embeddings.names, embeddings.label_n, size, [embeddings.embedding_nd], embeddings.meta)
  if projector is not None:
    points = write_projector(projector, embeddings, _reader(source, embeddings.names))
    say(f"{projector}: {points:,} of {len(embeddings.names):,} embeddings for tensorboard --logdir {projector}")
  return embeddings


def _reader(source: Source, names: list[str]) -> Callable[[int], np.ndarray | None]:
  """The image of a row of the embeddings; None if it can no longer be read."""
  record_of = {name: record for record, name in enumerate(source.names())}

  def read(row: int) -> np.ndarray | None:
    image = np.zeros((1, *source.image_shape), np.uint8)
    return None if source.read(np.array([record_of[names[row]]]), image) else image[0]

  return read


__all__ = ["embed_faces"]
