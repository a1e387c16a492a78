"""Infers from a state dict's names and shapes the options of its network, and the nearest known network."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import Any

import flax.traverse_util

from jaxface.interop.file_layers import FileLayer
from jaxface.layers.activation import ACTIVATIONS
from jaxface.models.iresnet import SHORTCUTS
from jaxface.models.mobilefacenet import VARIANTS
from jaxface.models.registry import family, list_models, model_options
from jaxface.models.saved import variable_shapes


def guess_named(keys: Iterable[str], layers: list[FileLayer], model: str) -> dict[str, Any]:
  """Options of `model` inferred from a layout with known names; `keys` and `layers` without prefix."""
  keys = set(keys)
  guess: dict[str, Any] = {}
  if model == "mobilefacenet":
    guess |= {"variant": "separable", "activation": "relu6"} if "dw_conv.pointwise.weight" in keys else {}
  if model.startswith("iresnet") and "input_layer.0.weight" in keys:
    guess["shortcut"] = "pool"
    inner = "body.0.res_layer.2.running_mean" in keys
    guess |= {} if inner else {"inner_norm": False}
    fc1 = next((layer for layer in layers if layer.name == f"body.0.res_layer.{6 if inner else 5}.fc1"), None)
    if fc1 is not None and fc1.kind in ("conv", "matrix") and fc1.shapes["kernel"][0]:
      guess["squeeze"] = fc1.shapes["kernel"][1] // fc1.shapes["kernel"][0]
    if model == "iresnet":
      guess |= _stages(layers)
  elif model == "iresnet":
    stages = [{key.split(".")[1] for key in keys if key.startswith(f"layer{stage}.")} for stage in (1, 2, 3, 4)]
    guess["units"] = tuple(len(units) for units in stages)
  return guess


def guess_options(layers: list[FileLayer], model: str, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Possible sets of options of `model` for the layers, without those in `given`; the simplest first."""
  valid = model_options(model)
  fixed = {} if "units" not in valid or not model.startswith("iresnet") else _stages(layers)
  slopes = any(layer.kind == "slopes" for layer in layers)
  grid = {
    "variant": VARIANTS if model == "mobilefacenet" else None, "shortcut": SHORTCUTS, "inner_norm": (True, False),
    "activation": ("prelu",) if slopes else tuple(name for name in ACTIVATIONS if name != "prelu"),
    "squeeze": tuple(sorted({0, *_ratios(layers)})),
  }
  names = [name for name, choices in grid.items() if choices and name in valid and name not in given]
  for values in product(*(grid[name] or () for name in names)):
    yield {**{name: value for name, value in fixed.items() if name not in given}, **dict(zip(names, values))}


def _stages(layers: list[FileLayer]) -> dict[str, Any]:
  """Units and width of an iresnet, by its 3×3 convolutions: one in the stem, two in each unit, each stage twice as wide."""
  counts = Counter(layer.shapes["kernel"][0] for layer in layers if layer.kind == "conv" and layer.shapes["kernel"][2:] == (3, 3))
  if not counts:
    return {}
  stem = min(counts)
  units = tuple((counts[stem << stage] - (not stage)) // 2 for stage in range(4))
  return {"units": units, **({} if stem == 64 else {"width": stem / 64})}


def _ratios(layers: list[FileLayer]) -> set[int]:
  """Ratios of squeeze-and-excitation: products that reduce channels next to ones that expand them, without a norm between."""
  shapes = [layer.shapes["kernel"][:2] for layer in layers if layer.kind == "matrix" or (layer.kind == "conv" and layer.shapes["kernel"][2:] == (1, 1))]
  pairs = pairwise(shapes)
  return {into // out for (out, into), (back, again) in pairs if 0 < out < into and (back, again) == (into, out) and into // out > 3}


def describe(layers: list[FileLayer], nearest: str = "") -> str:
  """Describes the contents of a file."""
  kinds = Counter(layer.kind for layer in layers)
  words = {"conv": "convolutions", "matrix": "matrices", "norm": "batch norms", "slopes": "PReLU slopes", "other": "others"}
  parts = [f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind]]
  text = f"The file contains {', '.join(parts) or 'no layers'}"
  products = [layer for layer in layers if layer.kind in ("conv", "matrix")]
  convs = [layer for layer in products if layer.kind == "conv"]
  if convs:
    first = min(convs, key=lambda layer: layer.shapes["kernel"][1] if layer.shapes["kernel"][1] > 1 else 1 << 30)
    text += f"; input channels {first.shapes['kernel'][1]} ({first})"
  if products:
    text += f"; embedding size {embedding_sizes(layers)[0]} ({_last(layers)})"
  others = [layer for layer in layers if layer.kind == "other"]
  if others:
    text += f"; unknown: {', '.join(map(str, others[:3]))}"
  return text + (f". {nearest}" if nearest else ".")


def _last(layers: list[FileLayer]) -> FileLayer:
  """The layer that most likely outputs the embedding: the last matrix, or the convolution with the last channels."""
  matrices = [layer for layer in layers if layer.kind == "matrix"]
  return matrices[-1] if matrices else [layer for layer in layers if layer.kind == "conv"][-1]


def embedding_sizes(layers: list[FileLayer]) -> list[int]:
  """Possible sizes of the embedding, the most likely first."""
  last = _last(layers).shapes["kernel"][0]
  return list(dict.fromkeys([last, *(layer.shapes["kernel"][0] for layer in reversed(layers) if layer.kind == "matrix")]))


def nearest_network(layers: list[FileLayer]) -> str:
  """Describes the known network that shares most shapes of convolutions and matrices with a file."""
  theirs = Counter(_plain(layer.shapes["kernel"]) for layer in layers if layer.kind in ("conv", "matrix"))
  if not theirs:
    return ""
  size = embedding_sizes(layers)[0]

  def shared(model: str) -> tuple[float, int, int]:
    ours = Counter(_kernels(model, size))
    both = sum((ours & theirs).values())
    return both / max(sum((ours | theirs).values()), 1), both, sum(ours.values())

  # First one network of each family, the one with the fewest layers, then all of the nearest family.
  families: dict[str, list[str]] = {}
  for model in list_models():
    families.setdefault(family(model), []).append(model)
  likely = {name: max(shared(member) for member in (models[0], models[-1])) for name, models in families.items()}
  best = max(likely, key=lambda name: likely[name])
  scores = {model: shared(model) for model in families[best]}
  model = max(scores, key=lambda name: scores[name])
  _, both, ours = scores[model]
  if not both:
    return "No known network shares a shape with it."
  return (
    f"The nearest known network is {model}: {both} of its {ours} convolutions and matrices have shapes that occur in the file"
    f" ({sum(theirs.values())} in the file)."
  )


def _kernels(model: str, embedding_size: int) -> Iterator[tuple[int, ...]]:
  try:
    shapes = flax.traverse_util.flatten_dict(variable_shapes(model, {"embedding_size": embedding_size}))
  except (TypeError, ValueError):  # a network without this size
    return
  for place, leaf in shapes.items():
    if place[-1] == "kernel" and len(leaf.shape) in (2, 4):
      *window, into, out = leaf.shape
      yield _plain((out, into, *window))


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
  return shape[:2] if shape[2:] == (1, 1) else shape


__all__ = ["describe", "embedding_sizes", "guess_named", "guess_options", "nearest_network"]
