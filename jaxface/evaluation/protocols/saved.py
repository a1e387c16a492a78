"""Saved evaluations: the scores, ranks and figures of one model on one protocol in an `.npz` file, for `jaxface report`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.intervals.people_draws import ProtocolDraws
from jaxface.evaluation.measures.folds import Folds
from jaxface.evaluation.measures.identification import Searches
from jaxface.evaluation.pairs.list_figures import Evaluation
from jaxface.evaluation.pairs.pair_score import COSINE
from jaxface.evaluation.pairs.verification import Verification
from jaxface.evaluation.protocols.base import ProtocolFigures
from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.formats.pairs import Pairs

KIND, VERSION = "jaxface evaluation", 1


def save_evaluation(path: str | Path, found: Evaluation | ProtocolFigures) -> None:
  """Writes an evaluation, atomically; equal evaluations give equal bytes.

  Args:
    path: file to write, .npz.
    found: from `evaluate`.
  Raises:
    ValueError: another suffix, or metadata that are not JSON values.
  """
  if Path(path).suffix.lower() != ".npz":
    raise ValueError(f"{path}: evaluations are stored in .npz")
  about, array = _parts_of(found)
  about = {"kind": KIND, "version": VERSION, "arrays": sorted(array), **about}
  text = np.frombuffer(json.dumps(about, sort_keys=True, allow_nan=False).encode(), np.uint8)
  with atomic_file(path) as file:
    np.savez(file, allow_pickle=False, about=text, **array)  # type: ignore[arg-type]


def _parts_of(found: Evaluation | ProtocolFigures) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Description and arrays of an evaluation."""
  about: dict[str, Any] = {"figures": dict(found.figures), "notes": list(found.notes), "meta": dict(found.meta)}
  array: dict[str, np.ndarray] = {}
  if isinstance(found, Evaluation):
    pairs, what = found.pairs, found.verification
    about |= {"type": "pairs", "file": pairs.file, "threshold_from": what and what.folds.threshold_from}
    about["list_notes"] = list(what.notes) if what else []
    array |= {"left": _encoded(pairs.left), "right": _encoded(pairs.right), "same": pairs.same, "score": found.score_p}
    array["fold"] = pairs.fold.astype(np.int64)
    if pairs.line is not None:
      array["line"] = pairs.line.astype(np.int64)
    if what:
      array |= {f"folds_{name}": getattr(what.folds, name) for name in ("fold", "pairs", "accuracy", "threshold")}
    return about, array
  about |= {"type": "protocol", "lines": list(found.lines), "galleries": list(found.searches)}
  for at, (name, searches) in enumerate(found.searches.items()):
    array |= {f"rank_{at}": searches.rank, f"score_{at}": searches.score}
    if name in found.probes:
      array[f"person_{at}"] = np.asarray(found.probes[name], np.int64)
  if found.draws:
    about["draws"] = {"people": found.draws.people, "value": dict(found.draws.value), "drawn": list(found.draws.drawn)}
    array |= {f"drawn_{at}": drawn_r for at, drawn_r in enumerate(found.draws.drawn.values())}
  about["parts"] = []
  for at, (name, part) in enumerate(found.parts.items()):
    one, more = _parts_of(part)
    about["parts"].append([name, one])
    array |= {f"part_{at}_{key}": value for key, value in more.items()}
  return about, array


def read_evaluation(path: str | Path) -> Evaluation | ProtocolFigures:
  """Reads what `save_evaluation` wrote. Nothing is unpickled.

  Args:
    path: the file.
  Returns:
    What was saved: the same scores, ranks and figures.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: not a saved evaluation, or a damaged one.
  """
  path = Path(path)
  with reading_npz(path) as archive:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    if "about" not in names:
      raise DamagedData(f"not a saved evaluation, but {_described(names)}: make one with jaxface evaluate ... --save FILE.npz", file=path)
    about = _parsed(path, npz_array(archive, "about").tobytes())
    if names - {"about"} != set(about["arrays"]):
      raise DamagedData(f"has the arrays {sorted(names)}, but was written with {about['arrays']}", file=path)
    array = {name: npz_array(archive, name) for name in about["arrays"]}
  try:
    return _pairs(about, array) if about["type"] == "pairs" else _protocol(about, array)
  except (KeyError, TypeError, AttributeError, UnicodeDecodeError, ValueError) as error:
    raise DamagedData(f"not a complete evaluation: {type(error).__name__}: {error}", file=path) from error


def title_of(found: Evaluation | ProtocolFigures, otherwise: str) -> str:
  """The name that reports show for the model of an evaluation: its own title, or `otherwise`."""
  return str(found.meta.get("title") or otherwise)


def protocol_of(found: Evaluation | ProtocolFigures) -> str:
  """The protocol's name; "pairs" for a pair list without one."""
  return str(found.figures.get("protocol", "pairs"))


def _described(names: set[str]) -> str:
  return "embeddings" if names & {"embedding", "embeddings", "feature", "features"} else f"a file with the arrays {sorted(names)}"


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
  try:
    about = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"its description is not JSON: {error}", file=path) from error
  if not isinstance(about, dict) or about.get("kind") != KIND or not isinstance(about.get("arrays"), list):
    raise DamagedData("not a saved evaluation: make one with jaxface evaluate ... --save FILE.npz", file=path)
  if about.get("version") != VERSION:
    raise DamagedData(f"an evaluation of format version {about.get('version')}; this release reads version {VERSION}", file=path)
  if about.get("type") not in ("pairs", "protocol") or not isinstance(about.get("figures"), dict) or not isinstance(about.get("meta"), dict):
    raise DamagedData("its description lacks type, figures or meta", file=path)
  return about


def _pairs(about: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> Evaluation:
  score_p, same_p = _checked(array["score"], "f"), _checked(array["same"], "b", score_p=array["score"])
  fold_p = _checked(array["fold"], "iu", score_p=score_p)
  line_p = _checked(array["line"], "iu", score_p=score_p) if "line" in array else None
  pairs = Pairs(_decoded(array["left"]), _decoded(array["right"]), same_p, fold_p, str(about["file"]), line_p)
  notes = tuple(map(str, about["notes"]))
  verification = None
  if about["threshold_from"] is not None:
    fold, count, accuracy, threshold = (array[f"folds_{name}"] for name in ("fold", "pairs", "accuracy", "threshold"))
    if not np.array_equal(fold, np.unique(fold_p)) or not fold.shape == count.shape == accuracy.shape == threshold.shape:
      raise ValueError("its folds are not those of its pairs")
    folds = Folds(fold, count, accuracy, threshold, str(about["threshold_from"]))
    name = str(about["figures"].get("score", COSINE))
    verification = Verification(pairs, score_p, folds, tuple(map(str, about["list_notes"])), name)
  return Evaluation(pairs, score_p, verification, about["figures"], notes, about["meta"])


def _protocol(about: Mapping[str, Any], array: Mapping[str, np.ndarray]) -> ProtocolFigures:
  searches, probes = {}, {}
  for at, gallery in enumerate(about["galleries"]):
    name, score_n = str(gallery), _checked(array[f"score_{at}"], "f")
    searches[name] = Searches(_checked(array[f"rank_{at}"], "iu", score_p=score_n), score_n)
    if (searches[name].rank < 0).any():
      raise ValueError(f"a negative rank in gallery {name!r}")
    if f"person_{at}" in array:
      probes[name] = _checked(array[f"person_{at}"], "iu", score_p=score_n)
  parts = {}
  for at, (name, one) in enumerate(about.get("parts", [])):
    start = f"part_{at}_"
    parts[str(name)] = _pairs(one, {key.removeprefix(start): value for key, value in array.items() if key.startswith(start)})
  draws = None
  if "draws" in about:  # files of earlier releases have none
    told = about["draws"]
    drawn = {str(name): _checked(array[f"drawn_{at}"], "f") for at, name in enumerate(told["drawn"])}
    draws = ProtocolDraws({name: float(told["value"][name]) for name in drawn}, drawn, str(told["people"]))
  notes, lines = (tuple(map(str, about[key])) for key in ("notes", "lines"))
  return ProtocolFigures(about["figures"], notes, lines, searches, probes, parts, draws, about["meta"])


def _checked(array: np.ndarray, kinds: str, score_p: np.ndarray | None = None) -> np.ndarray:
  """The array, of one dimension and one of the kinds of dtype, finite, and as long as the scores."""
  if array.ndim != 1 or array.dtype.kind not in kinds or (score_p is not None and array.shape != score_p.shape):
    raise ValueError(f"an array is {array.dtype} {array.shape}" + ("" if score_p is None else f", with {score_p.shape} scores"))
  if array.dtype.kind == "f" and not np.isfinite(array).all():
    raise ValueError("a score is not finite")
  return array


def _encoded(names: list[str]) -> np.ndarray:
  """Names as UTF-8 bytes, a quarter of the size of NumPy's text."""
  return np.array([name.encode() for name in names], np.bytes_)


def _decoded(array: np.ndarray) -> list[str]:
  return [name.decode() for name in _checked(array, "S").tolist()]


__all__ = ["protocol_of", "read_evaluation", "save_evaluation", "title_of"]
