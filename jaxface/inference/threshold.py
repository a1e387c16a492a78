"""Measures the threshold of a model at a FAR, from embeddings or from images, and writes it into the model's folder."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxface.data.source import Source
from jaxface.evaluation.pairs.pair_score import PairScore
from jaxface.evaluation.protocols.pair_list import PairProtocol
from jaxface.evaluation.protocols.registry import read_protocol
from jaxface.evaluation.threshold.measure import measure_threshold
from jaxface.evaluation.threshold.report import ThresholdReport, report_threshold
from jaxface.evaluation.threshold.traffic import Traffic
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.inference.evaluate import embed_listed
from jaxface.inference.model import Model
from jaxface.models.description import model_folder
from jaxface.models.threshold import write_threshold

_log = logging.getLogger(__name__)


def set_threshold(
  far: float, pairs: Pairs | str | Path | None = None, *, embeddings: Embeddings | str | Path | None = None,
  model: Model | str | Path | None = None, faces: str | Path | Source | None = None, protocol: str = "pairs", mirror: str | None = None,
  score: PairScore | None = None, gallery: int = 10_000, searches_per_day: float = 5_000, skip_missing: bool = False, write: str | Path | None = None,
  out: str | Path | None = None, template: str = "", batch_size: int = 128, devices: int = 0, progress: bool = False,
  say: Callable[[str], object] = _log.info,
) -> ThresholdReport:
  """The threshold with the largest TAR at a FAR of at most `far`, with intervals, and the false accepts to expect in use.

  Args:
    far: target FAR in (0, 1).
    pairs: a `Pairs`, the file of a pair list, or what `protocol` reads; None uses all pairs of the embeddings, which need labels.
    embeddings: an `Embeddings`, or a file of them; with `model`, the file to keep the new ones in.
    model: a `Model`, or the path of a model folder or workdir, which embeds `faces`.
    faces: a folder of aligned images, packed records, or a `jaxface.data.Source`.
    protocol: one of `jaxface.evaluation.PROTOCOLS` that is a pair list.
    mirror: mirror setting that decisions use; None takes that of the embeddings, or "sum" with `model`.
    score: what scores the pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine. Without `write`.
    gallery: number of people that a search is compared with.
    searches_per_day: number of searches per day for people who are not in the gallery.
    skip_missing: ignore pairs of images without an embedding.
    write: model folder to write `threshold.json` into.
    out: JSON file for every figure.
    template, batch_size, devices, progress, say: as in `evaluate_model`.
  Returns:
    `ThresholdReport`.
  Raises:
    ValueError: as `measure_threshold`; a protocol that is no pair list; `write` with embeddings of another or unknown model or mirror
      setting; neither embeddings nor a model with faces.
    FileNotFoundError: no model, faces or list there.
    DamagedData: a file that cannot be read.
  """
  traffic = Traffic(gallery, searches_per_day)
  if score is not None and write is not None:
    raise ValueError(f"{write}: the threshold of a model is a cosine; that of {score.name} belongs into the verifier's file")
  if (model is None) != (faces is None) or (model is None and embeddings is None):
    raise ValueError("give embeddings, or a model with faces")
  if write is not None:
    model_folder(write)  # a wrong path should fail at once
  if not isinstance(pairs, Pairs | None):
    rules = read_protocol(protocol, pairs)
    if not isinstance(rules, PairProtocol):
      raise ValueError(f"protocol {protocol!r} is no list of pairs of images: a threshold needs one, or all pairs")
    pairs = rules.pairs
  if model is not None and faces is not None:
    keep: Any = embeddings
    wanted = None if pairs is None else list(dict.fromkeys([*pairs.left, *pairs.right]))
    given = embed_listed(
      model, faces, wanted, template=template, mirror=mirror or "sum", batch_size=batch_size, devices=devices, progress=progress,
      embeddings=keep, say=say, raw=score is not None and score.raw,
    )
  else:
    given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(str(embeddings))
  made = given.meta.get("mirror")
  if mirror is not None and made not in (None, mirror):
    raise ValueError(f"the embeddings were made with mirror {made!r}, not {mirror!r}: embed the images again, or give --mirror {made}")
  threshold, notes = measure_threshold(given, pairs, far, score=score, skip_missing=skip_missing)
  if write is not None:
    say(f"{write_threshold(write, threshold, mirror=mirror)}: written")
  found = report_threshold(threshold, traffic, notes)
  if out is not None:
    write_json(out, found.figures)
  return found


__all__ = ["set_threshold"]
