"""The layers of a state dict: groups its tensors by layer and determines the kind of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxface.interop.weights import WrongWeights

MAX_DEPTH = 64
COUNTER = "num_batches_tracked"
# Name parts that module wrappers insert, at any depth.
_INSERTED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class FileLayer:
  """The tensors of a state dict that share a name up to the last dot.

  Attributes:
    name: the common name.
    kind: "conv", "matrix", "norm" (batch norm, with or without scale and bias), "slopes" (PReLU) or "other".
    keys: key of each tensor by our leaf name: "kernel", "bias", "scale", "mean", "var", "alpha"; by its own name for "other".
    shapes: shapes of the tensors, likewise.
  """

  name: str
  kind: str
  keys: dict[str, str]
  shapes: dict[str, tuple[int, ...]] = field(hash=False, compare=False)

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of its kernel, or of its first tensor."""
    return self.shapes.get("kernel") or next(iter(self.shapes.values()), ())

  def __str__(self) -> str:
    return f"{self.name or 'the file itself'} ({self.kind} {self.shape})"


def clean_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The same arrays without the name parts that wrappers such as `torch.compile` insert.

  Raises:
    WrongWeights: two tensors would have the same name, or a name has too many parts.
  """
  deep = next((key for key in state if key.count(".") > MAX_DEPTH), None)
  if deep is not None:
    raise WrongWeights(f"key {deep!r:.100} has {deep.count('.')} dots, at most {MAX_DEPTH} are read")
  cleaned = {".".join(part for part in key.split(".") if part not in _INSERTED): array for key, array in state.items()}
  if len(cleaned) != len(state):
    raise WrongWeights("tensor names are not unique without the parts of wrappers (such as _orig_mod)")
  return cleaned


def file_layers(state: Mapping[str, np.ndarray]) -> list[FileLayer]:
  """Layers of a state dict in its order, without batch counters."""
  groups: dict[str, dict[str, str]] = {}
  for key in state:
    name, _, last = key.rpartition(".")
    if last != COUNTER:
      groups.setdefault(name, {})[last] = key
  return [_layer(name, keys, {last: tuple(state[key].shape) for last, key in keys.items()}) for name, keys in groups.items()]


def _layer(name: str, keys: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> FileLayer:
  weight = len(shapes.get("weight", ()))
  if "running_mean" in keys and "running_var" in keys and keys.keys() <= _NORM.keys():
    kind, leaves = "norm", _NORM
  elif keys.keys() <= {"weight", "bias"} and weight in (2, 4):
    kind, leaves = {2: "matrix", 4: "conv"}[weight], {"weight": "kernel", "bias": "bias"}
  elif list(keys) == ["weight"] and weight == 1:
    kind, leaves = "slopes", {"weight": "alpha"}
  else:
    return FileLayer(name, "other", keys, shapes)
  return FileLayer(name, kind, {leaves[last]: key for last, key in keys.items()}, {leaves[last]: s for last, s in shapes.items()})


def natural(name: str) -> list[tuple[int, int | str]]:
  """A sort key that compares numbers in names numerically."""
  return [(0, int(part)) if part.isdecimal() else (1, part) for part in _NUMBERS.split(name) if part]


def roots(layers: list[FileLayer]) -> list[str]:
  """Common prefixes of most of the layers, from "" inwards, such as "", "module." and "module.backbone."."""
  found, prefix = [""], ""
  inside = [layer.name.split(".") for layer in layers]
  while inside:
    counts: dict[str, int] = {}
    for parts in inside:
      if len(parts) > 1:
        counts[parts[0]] = counts.get(parts[0], 0) + 1
    best = max(counts, key=lambda part: counts[part], default="")
    if not best or 2 * counts[best] < len(inside):
      break
    prefix += f"{best}."
    found.append(prefix)
    inside = [parts[1:] for parts in inside if parts[0] == best and len(parts) > 1]
  return found


__all__ = ["COUNTER", "FileLayer", "clean_names", "file_layers", "natural", "roots"]
