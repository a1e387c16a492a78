"""The model folder of a detector.

```
detector.json               name, settings, source, versions, name and digest of the weights; with a checksum
weights-DIGEST.safetensors  parameters by their path
card.md                     the same as text, with licence and origin
```
A new model is written next to the old one, and `detector.json`, which is replaced atomically, refers to the current one.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxface import __version__
from jaxface.formats import provenance
from jaxface.formats.atomic import atomic_file, write_text
from jaxface.formats.checked_json import parse_checked_json, write_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.interop.safetensors_file import read_safetensors, write_safetensors
from jaxface.models.card import lineage_of
from jaxface.models.saved import count_parameters

FILE = "detector.json"
FORMAT_VERSION = 1
_ENTRIES = {"format_version": int, "detector": str, "settings": dict, "weights": str, "sha256": str, "meta": dict}


@dataclass(frozen=True, eq=False)
class SavedDetector:
  """A detector as it is stored.

  Attributes:
    name: name of its kind, such as "mtcnn".
    settings: those that differ from the defaults; plain JSON values.
    params: nested dicts of arrays.
    meta: source, licence and origin; plain JSON values.
  """

  name: str
  settings: dict[str, Any]
  params: dict[str, Any]
  meta: dict[str, Any] = field(default_factory=dict)

  @property
  def num_parameters(self) -> int:
    """Number of parameters of all its networks."""
    return count_parameters(self.params)

  @property
  def licence(self) -> str:
    """Licence of the weights, "unknown" if it was not given."""
    return provenance.summary(lineage_of(self.meta), "licence")


def write_detector(folder: str | Path, saved: SavedDetector) -> None:
  """Writes a model folder; a process that is killed leaves the old model, or the new one, complete.

  Args:
    folder: is made if it does not exist; a detector in it is replaced.
    saved: the detector.
  Raises:
    FileExistsError: the folder has other files and no detector.
  """
  folder = Path(folder)
  if folder.exists() and not (folder / FILE).is_file() and any(folder.iterdir()):
    raise FileExistsError(f"{folder} exists already and is no model folder of a detector: choose another name or remove it")
  arrays = {"/".join(path): np.asarray(array) for path, array in sorted(flatten_dict(saved.params).items())}
  content = io.BytesIO()
  write_safetensors(content, arrays)
  digest = hashlib.sha256(content.getvalue()).hexdigest()
  weights = f"weights-{digest[:16]}.safetensors"
  with atomic_file(folder / weights) as file:
    file.write(content.getvalue())
  write_checked_json(folder / FILE, {
    "format_version": FORMAT_VERSION, "detector": saved.name, "settings": saved.settings, "weights": weights, "sha256": digest,
    "parameters": saved.num_parameters, "versions": {"jaxface": __version__}, "meta": saved.meta,
  })
  write_text(folder / "card.md", _card(saved))
  for old in folder.glob("weights-*.safetensors"):
    if old.name != weights:
      old.unlink(missing_ok=True)


def read_detector(folder: str | Path) -> SavedDetector:
  """Reads a model folder.

  Raises:
    FileNotFoundError: no detector there.
    DamagedData: a file is damaged or incomplete; names it.
  """
  folder = Path(folder)
  file = folder / FILE
  if not file.is_file():
    raise FileNotFoundError(f"{file}: no such file: {folder} is no model folder of a detector, as `jaxface import` writes it")
  plain = parse_checked_json(file.read_bytes(), file=file)
  for key, kind in _ENTRIES.items():
    if not isinstance(plain.get(key), kind):
      raise DamagedData(f"entry {key!r} is {plain.get(key)!r:.100}, expected {kind.__name__}", file=file)
  if plain["format_version"] != FORMAT_VERSION:
    raise DamagedData(f"format_version {plain['format_version']}, this release reads {FORMAT_VERSION}", file=file)
  if plain["weights"] != f"weights-{plain['sha256'][:16]}.safetensors":
    raise DamagedData(f"entry 'weights' is {plain['weights']!r:.100}, expected weights-DIGEST.safetensors", file=file)
  weights = folder / plain["weights"]
  if hashlib.sha256(weights.read_bytes()).hexdigest() != plain["sha256"]:
    raise DamagedData("its digest differs from the one in detector.json: copy or import the model again", file=weights)
  params: Mapping[str, Any] = unflatten_dict({tuple(name.split("/")): array for name, array in read_safetensors(weights).items()})
  return SavedDetector(plain["detector"], plain["settings"], dict(params), plain["meta"])


def _card(saved: SavedDetector) -> str:
  lineage = lineage_of(saved.meta)
  lines = [
    f"# {saved.name}", "", "| | |", "|---|---|",
    f"| licence | {provenance.summary(lineage, 'licence')} |",
    f"| origin | {provenance.summary(lineage, 'origin')} |",
    f"| parameters | {saved.num_parameters:,} |",
    *(f"| {key} | {value} |" for key, value in saved.settings.items()),
    "", "Made from:", "", *(f"- {ancestor}" for ancestor in lineage),
  ]
  return "\n".join(lines) + "\n"


__all__ = ["FILE", "SavedDetector", "read_detector", "write_detector"]
