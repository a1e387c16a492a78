"""Completes the config of a run from the saved network in `init_from`, so that its path is sufficient."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from jaxface.formats.manifest import UNKNOWN_TEMPLATES
from jaxface.models.config import ModelConfig
from jaxface.models.description import Description
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import create, model_options

# Options of computation and training, which a run may change.
FREE_OPTIONS = ("dtype", "remat", "dropout")


class Contradiction(ValueError):
  """A field of the run contradicts the network in `init_from`; names the field and both values."""


def take_over(config: ModelConfig, origin: Description) -> ModelConfig:
  """`config`, with unset fields filled in from the network in `init_from`.

  For the same network: name, options, embedding size, image size, preprocessing, fit and template of `origin`.
  For a network that contains another (`projected`): those of the inner one. For a network that extends `origin` (VGG-Face's B
  and A): the options that both have, and the input convention. dtype, remat and dropout are kept from the run; a dropout of
  0 uses that of `origin`.

  Args:
    config: config of the run.
    origin: description of the network in `config.init_from`.
  Returns:
    A complete config; the operation is idempotent.
  Raises:
    Contradiction: a field of the config differs from `origin`, or its network cannot be initialised from it.
    ValueError: unknown network or option.
  """
  name = config.name or origin.name
  explicit = dict(config.options)
  if name != origin.name and "backbone" in model_options(name):
    options = _inside(explicit, origin)
    size = config.embedding_size
  else:
    if config.embedding_size:
      explicit["embedding_size"] = config.embedding_size
    options = _options(name, explicit, origin)
    size = options.pop("embedding_size", 0)
    if config.dropout:
      options.pop("dropout", None)
  own = origin.preprocess
  square = own.size[0] == own.size[1]
  _agree("model.preprocess", config.preprocess or own.name, own.name, origin)
  _agree("model.size", (config.size, config.size) if config.size else own.size, own.size, origin)
  _agree("model.fit", config.fit or own.fit, own.fit, origin)
  return replace(
    config, name=name, options=options, embedding_size=size, preprocess=own.name if own.name in PREPROCESS else "",
    size=own.size[0] if square else 0, fit=cast(Any, own.fit), convention=own,
  )


def differing(run: Preprocess, saved: Preprocess) -> list[str]:
  """Fields in which two conventions differ, as "fit: 'crop' here, 'resize' there"; an unknown template differs from none."""
  found = []
  for field in Preprocess.__dataclass_fields__:
    here, there = getattr(run, field), getattr(saved, field)
    unknown = field == "template" and bool({here, there} & UNKNOWN_TEMPLATES)
    if here != there and not unknown:
      found.append(f"{field}: {here!r} here, {there!r} there")
  return found


def _options(name: str, explicit: Mapping[str, Any], origin: Description) -> dict[str, Any]:
  """Options of the same network, or of one that extends it."""
  if name != origin.name and origin.name not in getattr(create(name), "grows_from", ()):
    raise Contradiction(
      f"model.name {name} contradicts model.init_from {origin.path}, which is a {origin.name}: omit model.name to"
      " use that network"
    )
  valid = model_options(name)
  for key, value in explicit.items():
    if key in valid and key not in FREE_OPTIONS:
      theirs = {**model_options(origin.name), **origin.options}
      if key in theirs:
        _agree("model.embedding_size" if key == "embedding_size" else f"model.options.{key}", value, theirs[key], origin)
  taken = {key: value for key, value in origin.options.items() if key in valid and key not in ("dtype", "remat")}
  return {**taken, **explicit}


def _inside(explicit: Mapping[str, Any], origin: Description) -> dict[str, Any]:
  """Options of a network that contains the saved one."""
  inner = {key: value for key, value in origin.options.items() if key not in ("dtype", "remat")}
  theirs = {**model_options(origin.name), **inner}
  _agree("model.options.backbone", explicit.get("backbone", origin.name), origin.name, origin)
  given = explicit.get("backbone_options") or {}
  for key, value in given.items():
    if key not in FREE_OPTIONS:
      _agree(f"model.options.backbone_options.{key}", value, theirs.get(key), origin)
  return {**explicit, "backbone": origin.name, "backbone_options": {**inner, **given}}


def _agree(field: str, given: Any, found: Any, origin: Description) -> None:
  if _plain(given) != _plain(found):
    raise Contradiction(
      f"{field} {given} contradicts model.init_from {origin.path}, a {origin.name} with {found}: omit {field} to use"
      " that network, or train without model.init_from"
    )


def _plain(value: Any) -> Any:
  """Tuples as lists, as in JSON."""
  return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = ["FREE_OPTIONS", "Contradiction", "differing", "take_over"]
