"""A run that begins with a saved network takes over what that network is, so that its path alone says everything."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from jaxface.models.config import UNKNOWN_TEMPLATES, ModelConfig
from jaxface.models.preprocess import PREPROCESS, Preprocess
from jaxface.models.registry import create, model_options
from jaxface.models.saved import Description

# How a network computes and trains, not what it is: a run may choose.
FREE_OPTIONS = ("dtype", "remat", "dropout")


class Contradiction(ValueError):
  """A field of the run says another thing than the network that it begins with; names field and both values."""


def take_over(config: ModelConfig, origin: Description) -> ModelConfig:
  """`config` with everything filled in that it leaves to the network it begins with.

  The same network: name, options, embedding size, image size, preprocessing, fit and template are those of `origin`.
  A network with another inside of it (`projected`): those of the inner one. A network that grows from `origin`
  (VGG-Face's B from A): the options that both have, and the input convention. dtype, remat and dropout stay the run's
  own; a dropout of 0 takes that of `origin`.

  Args:
    config: of the run.
    origin: of the network that `config.init_from` names.
  Returns:
    A config that says everything; taking over once more changes nothing.
  Raises:
    Contradiction: the config gives a field another value than `origin` has, or is of a network that cannot begin with it.
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
  """Fields in which two conventions differ, as "fit: 'crop' here, 'resize' there"; a template not known differs from none."""
  found = []
  for field in Preprocess.__dataclass_fields__:
    here, there = getattr(run, field), getattr(saved, field)
    unknown = field == "template" and bool({here, there} & UNKNOWN_TEMPLATES)
    if here != there and not unknown:
      found.append(f"{field}: {here!r} here, {there!r} there")
  return found


def _options(name: str, explicit: Mapping[str, Any], origin: Description) -> dict[str, Any]:
  """Options of the same network, or of one that grows from it."""
  if name != origin.name and origin.name not in getattr(create(name), "grows_from", ()):
    raise Contradiction(
      f"model.name {name} contradicts model.init_from {origin.path}, which is a {origin.name}: leave model.name out to"
      " take that network over"
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
  """Options of a network around the saved one."""
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
      f"{field} {given} contradicts model.init_from {origin.path}, a {origin.name} with {found}: leave {field} out to take"
      " that network over, or train without model.init_from"
    )


def _plain(value: Any) -> Any:
  """Tuples as lists, as JSON has them."""
  return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = ["FREE_OPTIONS", "Contradiction", "differing", "take_over"]
