"""The protocols by name, and `evaluate`, which takes any of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxface.evaluation.pairs.list_figures import Evaluation, evaluate_pairs
from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.evaluation.pairs.pair_score import PairScore
from jaxface.evaluation.pairs.videos import FrameRule
from jaxface.evaluation.protocols.age_pose import read_six_thousand
from jaxface.evaluation.protocols.base import Protocol, ProtocolFigures
from jaxface.evaluation.protocols.cfp import read_cfp
from jaxface.evaluation.protocols.closed_set import read_closed_set
from jaxface.evaluation.protocols.ijb import read_ijb
from jaxface.evaluation.protocols.insightface_bin import read_bin_protocol
from jaxface.evaluation.protocols.lfw import read_view_1, read_view_2
from jaxface.evaluation.protocols.megaface import read_megaface
from jaxface.evaluation.protocols.pair_list import PairProtocol, read_any_pairs
from jaxface.evaluation.protocols.rfw import read_rfw
from jaxface.evaluation.protocols.saved import save_evaluation
from jaxface.evaluation.protocols.trillion_pairs import read_trillion_pairs
from jaxface.evaluation.protocols.ytf import Ytf, read_ytf
from jaxface.evaluation.threshold.shipped import shipped_threshold, with_shipped
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.formats.pairs import Pairs
from jaxface.losses.ranges import check_name

PROTOCOLS: MappingProxyType[str, Callable[[str | Path], Protocol]] = MappingProxyType({
  "pairs": read_any_pairs,
  "lfw": read_view_2,
  "lfw-unsupervised": partial(read_view_2, setting="unsupervised"),
  "lfw-restricted": partial(read_view_2, setting="restricted"),
  "lfw-unrestricted": partial(read_view_2, setting="unrestricted"),
  "lfw-view1": read_view_1,
  "ytf": read_ytf,
  "ytf-max": partial(read_ytf, pooling="max"),
  "ytf-pooled": partial(read_ytf, pooling="pooled"),
  "ytf-random": partial(read_ytf, pooling="random"),
  "ytf-top": partial(read_ytf, pooling="top"),
  "cfp-ff": partial(read_cfp, kind="ff"),
  "cfp-fp": partial(read_cfp, kind="fp"),
  "agedb-30": partial(read_six_thousand, name="agedb-30"),
  "calfw": partial(read_six_thousand, name="calfw"),
  "cplfw": partial(read_six_thousand, name="cplfw"),
  "bin": read_bin_protocol,
  "ijb-b": partial(read_ijb, name="ijb-b"),
  "ijb-b-1n": partial(read_ijb, name="ijb-b", task="1:N"),
  "ijb-c": partial(read_ijb, name="ijb-c"),
  "ijb-c-1n": partial(read_ijb, name="ijb-c", task="1:N"),
  "megaface-facescrub": read_megaface,
  "megaface-fgnet": partial(read_megaface, probes="fgnet"),
  "rfw": read_rfw,
  "trillion-pairs": read_trillion_pairs,
  "closed-set": read_closed_set,
})

FRAME_PROTOCOLS = ("ytf-random", "ytf-top")


def read_protocol(name: str, lists: str | Path) -> Protocol:
  """Reads and checks the official lists of a protocol.

  Args:
    name: one of `PROTOCOLS`.
    lists: file or folder, see docs/protocols.md.
  Returns:
    `Protocol`: counts, notes, names of the images, and `evaluate`.
  Raises:
    ValueError: an unknown name.
    DamagedData: an invalid line, or other counts than the official ones.
    FileNotFoundError: a list is missing.
  """
  check_name("protocol", name, tuple(PROTOCOLS))
  return PROTOCOLS[name](lists)


def evaluate(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path, *, protocol: str = "pairs",
  normalise: LargestFeatures | str | Path | None = None, save_fit: str | Path | None = None,
  threshold_from: Pairs | str | Path | None = None, score: PairScore | None = None, skip_missing: bool = False, out: str | Path | None = None,
  save: str | Path | None = None, title: str = "", frames: FrameRule | None = None,
) -> Evaluation | ProtocolFigures:
  """Figures of embeddings, made here or elsewhere, by the rules of a protocol.

  `verify` computes the figures of a pair list only, also from arrays. This function reads files, and accepts lists that `verify`
  rejects: with missing images, or with pairs of one kind.

  Args:
    embeddings: an `Embeddings`, or a file of them (.npz, .parquet).
    pairs: a `Pairs`, the file of a pair list, or what `protocol` reads.
    protocol: one of `PROTOCOLS`; "pairs" takes any pair list.
    normalise: divides each feature by its maximum over a training set: a `LargestFeatures`, a file of one (.json), or
      embeddings of that set (.npz, .parquet) to fit it on. Pair lists only.
    save_fit: file to write that fit to.
    threshold_from: another list, which sets the threshold; None uses the other folds, or, for a list without folds, its own
      pairs, which is optimistic. A model folder adds the figures at its threshold beside those of the folds. Pair lists only.
    score: what scores pairs, such as a `jaxface.verifiers.Verifier`; None is the cosine. Pair lists only, without the
      threshold of a model folder, which is of cosines.
    skip_missing: ignore images without an embedding, with a note; otherwise they raise an error.
    out: JSON file for every figure.
    save: .npz file for the evaluation with its scores and ranks, for `jaxface report` and `read_evaluation`.
    title: name of the model in reports; "" for the name of the file.
    frames: count, seed and quality of frames for "ytf-random" and "ytf-top"; None takes those of the papers.
  Returns:
    `Evaluation` for pairs, else `ProtocolFigures`.
  Raises:
    ValueError: an image has no embedding, or nothing is left; an unknown protocol; options that do not fit it; embeddings of
      length one where `normalise` needs the network's own numbers; `save_fit` without `normalise`.
    DamagedData: a file that cannot be read.
  """
  check_name("protocol", protocol, tuple(PROTOCOLS))
  folder: str | Path | None = None
  if isinstance(threshold_from, (str, Path)) and Path(threshold_from).is_dir():
    if score is not None:
      raise ValueError(f"{threshold_from}: the threshold of a model is a cosine, the pairs are scored by {score.name}")
    folder, threshold_from = threshold_from, None
    embeddings = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
    threshold = shipped_threshold(folder, embeddings.meta)
  options: dict[str, Any] = {"normalise": normalise, "save_fit": save_fit, "threshold_from": threshold_from, "score": score}
  found: Any
  if frames is not None and protocol not in FRAME_PROTOCOLS:
    raise ValueError(f"frames applies to the protocols {' and '.join(FRAME_PROTOCOLS)}, not to {protocol!r}")
  if isinstance(pairs, Pairs):
    if protocol != "pairs":
      raise ValueError(f"protocol {protocol!r} reads its official lists: give their path, or use protocol 'pairs' for a Pairs")
    found = evaluate_pairs(embeddings, pairs, skip_missing=skip_missing, **options)
  else:
    rules = read_protocol(protocol, pairs)
    if frames is not None and isinstance(rules, Ytf):
      rules = replace(rules, rule=frames)
    given = embeddings if isinstance(embeddings, Embeddings) else read_embeddings(embeddings)
    if isinstance(rules, PairProtocol):
      found = rules.evaluate(given, skip_missing=skip_missing, **options)
    elif isinstance(rules, Ytf) and normalise is threshold_from is None:
      found = rules.evaluate(given, skip_missing=skip_missing, score=score)
    else:
      for name, value in options.items():
        if value is not None:
          raise ValueError(f"{name} applies to pair lists only, not to the protocol {protocol!r}")
      found = rules.evaluate(given, skip_missing=skip_missing)
    found = replace(found, meta=given.meta)
  if folder is not None:
    if not isinstance(found, Evaluation):
      raise ValueError(f"threshold_from applies to pair lists only, not to the protocol {protocol!r}")
    found = with_shipped(found, threshold)
  found = replace(found, meta={**found.meta, **({"title": title} if title else {})})
  if out:
    write_json(out, found.figures)
  if save:
    save_evaluation(save, found)
  return found


__all__ = ["FRAME_PROTOCOLS", "PROTOCOLS", "evaluate", "read_protocol"]
