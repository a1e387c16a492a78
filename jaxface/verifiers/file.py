"""A verifier as one file: plain arrays in `.npz` form, written atomically."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.formats.errors import DamagedData
from jaxface.formats.npz import npz_array, reading_npz
from jaxface.formats.threshold import COSINE, Threshold
from jaxface.verifiers.base import Verifier
from jaxface.verifiers.front import Front
from jaxface.verifiers.kinds import VERIFIERS

KIND, VERSION = "verifier", 1
_WAY = "`jaxface verifier fit` makes verifiers"


def write_verifier(path: str | Path, verifier: Verifier) -> None:
  """Writes a verifier atomically; equal verifiers give equal bytes.

  Args:
    path: file to write, .npz; an existing one is replaced.
    verifier: what to write.
  Raises:
    ValueError: another suffix, or metadata that are not JSON values.
  """
  if Path(path).suffix.lower() != ".npz":
    raise ValueError(f"{path}: verifiers are stored in .npz")
  about, array = described(verifier)
  text = json.dumps({"kind": KIND, "format_version": VERSION, **about, "arrays": sorted(array)}, sort_keys=True, allow_nan=False)
  with atomic_file(path) as file:
    np.savez(file, allow_pickle=False, about=np.array(text), **array)  # type: ignore[arg-type]


def read_verifier(path: str | Path) -> Verifier:
  """Reads what `write_verifier` wrote. Nothing is unpickled.

  Args:
    path: the file.
  Raises:
    FileNotFoundError: no such file.
    DamagedData: not a verifier of this version, or a damaged one.
  """
  path = Path(path)
  with reading_npz(path) as archive:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    if "about" not in names:
      raise DamagedData(f"not a verifier: it has the arrays {sorted(names)}. {_WAY}", file=path)
    about = _parsed(path, npz_array(archive, "about"))
    if names - {"about"} != set(about["arrays"]):
      raise DamagedData(f"has the arrays {sorted(names - {'about'})}, but was written with {about['arrays']}", file=path)
    array = {name: npz_array(archive, name) for name in about["arrays"]}
  for name, value in array.items():
    if value.dtype != np.float64 or not np.isfinite(value).all():
      raise DamagedData(f"its array {name!r} is {value.dtype} or has numbers that are not finite. {_WAY}", file=path)
  try:
    return rebuilt(about, array)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise DamagedData(f"not a complete verifier: {type(error).__name__}: {error!s:.200}. {_WAY}", file=path) from error


def described(verifier: Verifier) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """(description as plain JSON values, arrays by name) of a verifier."""
  about = {
    "verifier": verifier.kind, "front": verifier.front.settings(), "settings": verifier.settings(), "made_from": dict(verifier.made_from),
  }
  if verifier.threshold is not None:
    about["threshold"] = verifier.threshold.to_json()
  array = {name: np.asarray(value, np.float64) for name, value in {**verifier.front.arrays(), **verifier.arrays()}.items()}
  return about, array


def rebuilt(about: dict[str, Any], array: dict[str, np.ndarray]) -> Verifier:
  """The verifier that `described` described."""
  if about["verifier"] not in VERIFIERS:
    raise ValueError(f"it is of the kind {about['verifier']!r}; this release has {', '.join(VERIFIERS)}")
  found = VERIFIERS[about["verifier"]].restored(Front.restored(about["front"], array), about["settings"], array)
  threshold = about.get("threshold")
  return replace(
    found, made_from=dict(about["made_from"]), threshold=None if threshold is None else Threshold.from_json(threshold, file="its threshold")
  )


def verifier_digest(verifier: Verifier) -> str:
  """First 16 hex digits of the SHA-256 of what scores: kind, settings, arrays, and what made the embeddings; not of the threshold."""
  about, array = described(replace(verifier, threshold=None))
  total = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
  for name in sorted(array):
    total.update(f"{name} {array[name].shape}".encode() + np.ascontiguousarray(array[name]).tobytes())
  return total.hexdigest()[:16]


def _parsed(path: Path, text: np.ndarray) -> dict[str, Any]:
  try:
    about = json.loads(str(text[()])) if text.ndim == 0 and text.dtype.kind == "U" else None
  except (ValueError, RecursionError):
    about = None
  if not isinstance(about, dict) or about.get("kind") != KIND or not isinstance(about.get("arrays"), list):
    raise DamagedData(f"not a verifier. {_WAY}", file=path)
  if about.get("format_version") != VERSION:
    raise DamagedData(f"a verifier of format version {about.get('format_version')}; this release reads version {VERSION}", file=path)
  return about


def read_score(path: str | Path | None) -> Verifier | None:
  """What scores pairs: the verifier of a file; None for the cosine, which no path and "cosine" are.

  Raises:
    FileNotFoundError, DamagedData: as `read_verifier`.
  """
  return None if path is None or str(path) == COSINE else read_verifier(path)


__all__ = ["described", "read_score", "read_verifier", "rebuilt", "verifier_digest", "write_verifier"]
