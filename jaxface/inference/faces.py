"""Embeds faces with a model and writes the embeddings to a file, in one call."""

import logging
from collections.abc import Callable
from pathlib import Path

from jaxface.data.source import Source
from jaxface.formats.embeddings import Embeddings, embeddings_suffix, write_embeddings
from jaxface.inference.model import Model, load

_log = logging.getLogger(__name__)


def embed_faces(
  model: Model | str | Path, faces: str | Path | Source, out: str | Path | None = None, *, template: str = "",
  mirror: str = "sum", raw: bool = False, batch_size: int = 128, devices: int = 0, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> Embeddings:
  """Embeddings of a folder or of packed records, with names and labels, in memory and in a file.

  Unreadable images are skipped and reported; `meta["unreadable"]` has their names.

  Args:
    model: a `Model`, or the path of a model folder or of the workdir of a run.
    faces: a folder of aligned images (searched to any depth), one image, packed records, or a `jaxface.data.Source`.
    out: file to write, .npz or .parquet; None writes no file.
    template: alignment template of a folder, if known; "none" for not aligned.
    mirror: embedding of the mirrored image: "sum" adds it, "concat" appends it, "none" does not compute it.
    raw: keep the network's raw output; by default each embedding has length one.
    batch_size: images per batch over all devices; the result does not depend on it.
    devices: number of this host's devices to use, 0 for all.
    progress: draw a progress bar.
    say: called with each line for the user.
  Returns:
    `Embeddings`: embedding_nd [N, D] float32 ([N, 2·D] for "concat"), N names, N labels.
  Raises:
    ValueError: an unknown suffix of `out`, an unknown mirror or template, images aligned to another template than the model's.
    FileNotFoundError: no model, or no faces, there.
    DamagedData: most images cannot be read.
  """
  if out is not None:
    embeddings_suffix(out)
    # Fail before computing if the folder cannot be created.
    Path(out).parent.mkdir(parents=True, exist_ok=True)
  model = model if isinstance(model, Model) else load(model)
  embeddings = model.embed_named(
    faces, mirror=mirror, raw=raw, batch_size=batch_size, progress=progress, template=template, skip_unreadable=True,
    devices=devices, say=say,
  )
  if out is not None:
    write_embeddings(out, embeddings)
  return embeddings


__all__ = ["embed_faces"]
