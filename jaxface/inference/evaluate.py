"""Evaluates a model on images by the rules of a protocol, in one call: embeds the images that the lists name, then `evaluate`."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxface.data.source import Source
from jaxface.data.subset import NamedSource
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_names import finder
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures
from jaxface.evaluation.protocols.pair_list import PairProtocol
from jaxface.evaluation.protocols.registry import evaluate, read_protocol
from jaxface.formats.embeddings import Embeddings, write_embeddings
from jaxface.formats.pairs import Pairs, read_pairs
from jaxface.inference.model import Model, load

_log = logging.getLogger(__name__)


def evaluate_model(
  model: Model | str | Path, faces: str | Path | Source, pairs: Pairs | str | Path, *, protocol: str = "pairs", template: str = "",
  mirror: str = "sum", crops: str = "one", batch_size: int = 128, devices: int = 0, progress: bool = False,
  embeddings: str | Path | None = None, say: Callable[[str], object] = _log.info, **options: Any,
) -> Evaluation | ProtocolFigures:
  """Figures of a model on a folder of images or packed records.

  Only images that the lists name are embedded. Unreadable ones are reported, and are then missing (`skip_missing`).

  Args:
    model: a `Model`, or the path of a model folder or of the workdir of a run.
    faces: a folder of aligned images (searched to any depth), packed records, or a `jaxface.data.Source`.
    pairs: a `Pairs`, the file of a pair list, or what `protocol` reads.
    protocol: one of `jaxface.evaluation.PROTOCOLS`.
    template: alignment template of a folder, if known; "none" for not aligned.
    mirror: embedding of the mirrored image: "sum" adds it, "concat" appends it, "none" does not compute it.
    crops: "one" embeds the face, "ten" and "thirty" the mean over parts of it, see `jaxface.inference.CROPS`.
    batch_size: images per batch over all devices; the result does not depend on it.
    devices: number of this host's devices to use, 0 for all.
    progress: draw a progress bar.
    embeddings: file to keep the embeddings in, .npz or .parquet; None keeps none.
    say: called with each line for the user.
    **options: further options of `jaxface.evaluation.evaluate`. With `normalise` the network's raw output is used.
  Returns:
    As `jaxface.evaluation.evaluate`.
  Raises:
    ValueError: none of the images is in the lists; otherwise as `embed_faces` and `evaluate`.
    FileNotFoundError: no model, faces or lists there.
    DamagedData: a list cannot be read, or most images.
  """
  score = options.get("score")
  made = embed_listed(
    model, faces, _wanted(pairs, protocol, options.get("threshold_from")), template=template, mirror=mirror,
    raw=options.get("normalise") is not None or (score is not None and score.raw), crops=crops, batch_size=batch_size, devices=devices,
    progress=progress, embeddings=embeddings, say=say,
  )
  return evaluate(made, pairs, protocol=protocol, **options)


def embed_listed(
  model: Model | str | Path, faces: str | Path | Source, wanted: Sequence[str] | Protocol | None, *, template: str = "", mirror: str = "sum",
  raw: bool = False, crops: str = "one", batch_size: int = 128, devices: int = 0, progress: bool = False, embeddings: str | Path | None = None,
  say: Callable[[str], object] = _log.info,
) -> Embeddings:
  """Embeddings of the images that lists name, with the provenance of the model in their metadata; unreadable ones are reported.

  Args:
    wanted: names of the images, or the protocol that names them; None for all.
    model, faces, template, mirror, crops, batch_size, devices, progress, embeddings, say: see `evaluate_model`.
    raw: keep the network's raw output.
  Raises:
    ValueError: none of the images is in the lists.
  """
  model = model if isinstance(model, Model) else load(model)
  source = model.open(faces, template)
  for note in getattr(source, "notes", ()):
    say(note)
  if wanted is not None:
    names = source.names()
    find = finder(names)
    chosen = NamedSource(source, wanted.used(names)[0] if isinstance(wanted, Protocol) else {find(name) for name in wanted})
    if not chosen.num_records:
      first = (wanted.images if isinstance(wanted, Protocol) else wanted)[0]
      raise ValueError(f"{faces}: none of its {len(names):,} images, named like {names[0]!r}, is in the lists, which name {first!r}")
    source = chosen
  made = model.embed_named(
    source, mirror=mirror, raw=raw, crops=crops, batch_size=batch_size, progress=progress, skip_unreadable=True, devices=devices, say=say,
  )
  if embeddings is not None:
    write_embeddings(embeddings, made)
  return made


def _wanted(pairs: Pairs | str | Path, protocol: str, threshold_from: Pairs | str | Path | None) -> list[str] | Protocol:
  """Names of the images in the lists, each once, or a protocol with its own rule of names."""
  def both(given: Pairs) -> list[str]:
    return [*given.left, *given.right]

  if isinstance(pairs, Pairs):
    names = both(pairs)
  elif isinstance(rules := read_protocol(protocol, pairs), PairProtocol):
    names = list(rules.images)
  else:
    return rules
  if threshold_from is not None and (isinstance(threshold_from, Pairs) or not Path(threshold_from).is_dir()):
    names += both(threshold_from if isinstance(threshold_from, Pairs) else read_pairs(threshold_from))
  return list(dict.fromkeys(names))


__all__ = ["embed_listed", "evaluate_model"]
