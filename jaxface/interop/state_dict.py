"""Import and export of PyTorch state dicts.

Tensors are paired by the tables of `jaxface.interop.torch_names` if the file has such names, else by order and shape
(`jaxface.interop.pairing`).

| ours | theirs | how |
|---|---|---|
| `Conv` kernel [h, w, I, O] | weight [O, I, h, w], or [O, I] of a matrix | transposed |
| `Dense` kernel [HWC, O] | weight [O, CHW] | rows reordered from C, H, W to H, W, C, and transposed |
| `BatchNorm` scale, bias, mean, var | weight, bias, running_mean, running_var | unchanged, as is ε |
| – | num_batches_tracked | written as 0, not read |
| `Activation` alpha [C] | weight [C], or one for all | unchanged |
| – | bias of a convolution before a norm | subtracted from the norm's mean |
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from jaxface.formats.atomic import atomic_file
from jaxface.interop.file_layers import COUNTER, FileLayer, clean_names, file_layers, roots
from jaxface.interop.fill import fill
from jaxface.interop.guess import describe, guess_named, guess_options, nearest_network
from jaxface.interop.own_names import LAYOUT, from_own_names, to_own_names
from jaxface.interop.pairing import ANY_EMBEDDING, Pairing, layer_names, pair_by_names, pair_by_order
from jaxface.interop.safetensors_file import read_metadata, read_safetensors, write_safetensors
from jaxface.interop.slots import LEAVES, Slot, list_slots
from jaxface.interop.torch_file import read_torch
from jaxface.interop.torch_names import NoNames, find_prefix, torch_names
from jaxface.interop.weights import (
  Ambiguous,
  WrongWeights,
  described,
  find_convention,
  lineage_in,
  metadata,
  nameless,
  recoloured,
  source,
)
from jaxface.models.calibration import norm_meta
from jaxface.models.preprocess import Preprocess, changed
from jaxface.models.registry import model_options, with_taken
from jaxface.models.saved import SavedModel

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".pth.tar", ".bin")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)


def import_state_dict(
  path: Path | str, model: str = "", preprocess: str = "", options: dict[str, Any] | None = None, *, key: str = "",
  names: Mapping[str, str] | None = None, flatten: str = "chw", colour: str = "", say: Callable[[str], object] = lambda line: None,
) -> SavedModel:
  """Import a state dict into a network.

  Args:
    path: a file with one of `SUFFIXES`, in any case. Common prefixes of all names (`module.`, `model.`, `backbone.` or any
      other) and parts inserted by `torch.compile` are dropped.
    model: name of the network, such as "iresnet50"; not needed for a file of `export_state_dict`, which records the
      network, its options and its preprocess.
    preprocess: name of the input convention that the weights were trained with; "" uses the network's own.
    options: options of the network; others are inferred from names and shapes (units, variant, embedding size).
    key: keys of the nested dicts around the state dict, joined by dots, if the file contains several; or the prefix of the
      network's names.
    names: maps layers, modules or tensors of the file to paths in the network ("" skips them), where names and shapes are
      ambiguous.
    flatten: order in which the file's network flattens feature maps, one of `FLATTENS`.
    colour: order of the channels, if it is not the convention's.
    say: called with lines about the pairing.
  Raises:
    WrongWeights: the state dict does not match the network; gives key, expected and found, and the file's contents.
    Ambiguous: an option cannot be inferred from names and shapes; names it and its values.
    DamagedData, UnsafePickle, UnsafePath: see `read_safetensors` and `read_torch`.
    NoNames: the network has layers of unsupported kinds.
    ValueError: unknown suffix, model, option or preprocess, or no model if the file does not record it.
  """
  path = Path(path)
  state, own, said_of_itself = _read(path, key)
  if own and model in ("", own[0]):
    model, said, convention = own
    options = {**said, **(options or {})}
    if preprocess:
      convention = changed(find_convention(model, options, preprocess, convention.size), template=convention.template)
    convention = recoloured(convention, colour)
  elif not model:
    raise nameless(path)
  else:
    options, convention = dict(options or {}), None
  model_options(model)  # raises for an unknown name before anything is read
  meta = {**source(path), **lineage_in(said_of_itself, path)}
  if said_of_itself.get(LAYOUT) == "jaxface":
    convention = convention or find_convention(model, options, preprocess, 0, colour)
    return SavedModel(model, options, convention, from_own_names(state, model, options, convention, path), meta)
  layers = file_layers(state)
  try:
    given = layer_names(names or {}, state)
    pairing, options, convention = _pair(state, layers, model, options, convention, (preprocess, colour), given, path)
    variables = fill(pairing, state, flatten, path, model, options)
  except WrongWeights as error:
    if isinstance(error, Ambiguous):
      raise
    text = str(error) if str(path) in str(error) else f"{path}: {error}"
    raise WrongWeights(f"{text}. {describe(layers, nearest_network(layers))}") from error
  for line in [*pairing.table(), *(f"note: {note}" for note in pairing.short_notes())]:
    say(line)
  meta["pairing"] = pairing.to_json()
  if any(slot.layer.kind == "dense" and not slot.one_pixel for slot, _ in pairing.layers):
    meta["flatten"] = flatten
  return SavedModel(model, options, convention, variables, {**meta, **norm_meta(variables)})


def _read(
  path: Path, key: str
) -> tuple[dict[str, np.ndarray], tuple[str, dict[str, Any], Preprocess] | None, dict[str, str]]:
  """The arrays of a file, the network that it records, and its metadata."""
  if not path.name.lower().endswith(SUFFIXES):
    raise ValueError(f"{path}: state dicts can be read from {', '.join(SUFFIXES)}")
  if path.suffix.lower() == ".safetensors":
    state, said = read_safetensors(path), read_metadata(path)
  else:
    return clean_names(read_torch(path, key)), None, {}
  if key:
    state = {name.removeprefix(f"{key}."): array for name, array in state.items() if name.startswith(f"{key}.")}
    if not state:
      raise WrongWeights(f"{path}: no tensor's name begins with {key!r}")
  return clean_names(state), described(said, path), said


def _pair(
  state: dict[str, np.ndarray], layers: list[FileLayer], model: str, options: dict[str, Any], convention: Preprocess | None,
  chosen: tuple[str, str], names: Mapping[str, str], path: Path,
) -> tuple[Pairing, dict[str, Any], Preprocess]:
  """The pairing of a file's tensors with a network's, the network's options and its convention."""
  prefix = None if names else find_prefix(model, state, roots(layers))
  preprocess, colour = chosen
  tried = convention or find_convention(model, options, preprocess, 0, colour)

  def slots_of(guess: dict[str, Any]) -> list[Slot]:
    return list_slots(model, {**with_taken(model, embedding_size=ANY_EMBEDDING), **guess, **options}, tried)

  fits: list[tuple[dict[str, Any], Pairing]] = []
  if prefix is not None:
    inside = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    own = [replace(layer, name=layer.name.removeprefix(prefix)) for layer in layers if layer.name.startswith(prefix)]
    guesses = [guess_named(inside, own, model)]
    slots = slots_of(guesses[0])
    table = torch_names(model, {**guesses[0], **options}, [slot.layer.path for slot in slots])
    # A file may share a few names with a layout by coincidence.
    if 2 * len({layer.name for layer in own} & set(table.values())) >= len(table):
      fits.append((guesses[0], pair_by_names(state, layers, slots, table, prefix, tried)))
  if not fits:
    in_order = path.suffix.lower() != ".safetensors"
    guesses = list(guess_options(layers, model, options))
    for guess in guesses:
      pairing = pair_by_order(layers, slots_of(guess), tried, in_order=in_order, given=names)
      fits += [] if pairing is None else [(guess, pairing)]
  if not fits:
    tries = " or ".join(str({**guess, **options}) for guess in guesses[:4])
    raise WrongWeights(f"no order of its layers fits {model} with {tries or 'its options'}")
  guess, pairing = fits[0]
  if len(fits) > 1:
    open_options = {name: [g[name] for g, _ in fits] for name in guess if any(g[name] != guess[name] for g, _ in fits)}
    what = ", ".join(f"{name} ({' or '.join(map(str, values))})" for name, values in open_options.items())
    raise Ambiguous(
      f"{path}: the {what} of {model} cannot be inferred from names and shapes: give it with --option, or images of known"
      " people with --check, which compares them", [g for g, _ in fits],
    )
  options = {**guess, **options}
  if "embedding_size" in model_options(model) and "embedding_size" not in options:
    # A missing last layer raises below.
    options["embedding_size"] = pairing.embedding_size or model_options(model)["embedding_size"]
  if convention is None:
    convention = find_convention(model, options, preprocess, pairing.size or 0, colour)
  if convention.size == tried.size:
    return pairing.with_embedding(options.get("embedding_size", 0)), options, convention
  again = {slot.layer.path: slot for slot in list_slots(model, options, convention)}
  return replace(pairing, layers=[(again[slot.layer.path], layer) for slot, layer in pairing.layers]), options, convention


def to_state_dict(saved: SavedModel) -> dict[str, np.ndarray]:
  """A network's variables as a PyTorch state dict, including batch counters."""
  state: dict[str, np.ndarray] = {}
  leaves = flax.traverse_util.flatten_dict(saved.variables)
  for place, (key, slot, shape) in named_tensors(saved.name, saved.options, saved.preprocess).items():
    state[key] = _to_theirs(np.asarray(leaves[place], np.float32), slot, place[-1]).reshape(shape)
    if place[-1] == "var":
      state[f"{key.rpartition('.')[0]}.{COUNTER}"] = np.zeros((), np.int64)
  return state


def export_state_dict(saved: SavedModel, path: Path | str) -> None:
  """Write a network as safetensors, atomically; the file is read back and compared first.

  Names are PyTorch's if there is a table of them, else our own: see `jaxface.interop.own_names`. The file's metadata are under
  `jaxface.*`.
  """
  try:
    state, layout = to_state_dict(saved), {"format": "pt", LAYOUT: "pytorch"}
  except NoNames:
    state, layout = to_own_names(saved), {LAYOUT: "jaxface"}
  with atomic_file(path) as file:
    write_safetensors(file, state, {**layout, **metadata(saved, saved.own_threshold)})
    file.flush()
    again = read_safetensors(file.name)
    if again.keys() != state.keys() or any((again[key] != array).any() for key, array in state.items()):
      raise OSError(f"{path}: not written: the data read back differ")


def named_tensors(
  model: str, options: dict[str, Any], convention: Preprocess
) -> dict[tuple[str, ...], tuple[str, Slot, tuple[int, ...]]]:
  """Maps the path of each of our variables to its key, its layer and its written shape.

  Raises:
    NoNames: there is no table of names for this network.
  """
  slots = list_slots(model, options, convention)
  names = torch_names(model, options, [slot.layer.path for slot in slots])
  table = {}
  for slot in slots:
    for leaf, place in slot.places.items():
      key = f"{names[slot.layer.path]}.{LEAVES[leaf]}"
      # Our last layer is a 1×1 convolution; InsightFace's is a matrix, foamliu's a convolution.
      table[place] = (key, slot, slot.shapes[leaf][:2] if key == "features.layers.2.weight" else slot.shapes[leaf])
  return table


def _to_theirs(array: np.ndarray, slot: Slot, leaf: str) -> np.ndarray:
  if leaf == "kernel" and slot.layer.kind == "conv":
    array = array.transpose(3, 2, 0, 1)
  elif leaf == "kernel":
    height, width, channels = slot.layer.image_shape
    array = array.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
  return np.ascontiguousarray(array)


__all__ = ["SUFFIXES", "TORCH_SUFFIXES", "export_state_dict", "import_state_dict", "named_tensors", "to_state_dict"]
