"""Experiments of another kind: their own settings, data and stages, run by the same command.

An experiment file defines EXPERIMENT as a frozen dataclass of such a kind; `jaxface train` sets its fields, calls `run` and prints the
result. What a kind trains goes through `train_run`, so that it is logged, saved and resumed like every other run.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jaxface.training.choices import CHOICES
from jaxface.training.overrides import override_all

if TYPE_CHECKING:
  from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class CustomExperiment:
  """An experiment that is not the training of an embedding; kinds derive from it.

  Attributes:
    name: name of the run and of its folder.
  """

  name: str = "custom"

  def with_overrides(self, overrides: Mapping[str, str]) -> Self:
    """A copy with fields set from text by dotted name; see `overrides.override` for the errors."""
    return override_all(self, overrides, CHOICES)

  def settings(self, kind: type[Settings]) -> Settings:
    """The settings of a training, whose fields this experiment has among its own.

    Args:
      kind: dataclass of the settings.
    """
    return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

  def run(self, folder: Path) -> Any:
    """Trains, or goes on with what is left, and saves the model.

    Args:
      folder: folder of the run.
    Returns:
      A result whose text is one line for the terminal.
    Raises:
      Interrupted: a signal came; a checkpoint is saved, and the same call resumes.
    """
    raise NotImplementedError(f"{type(self).__name__} defines no run(folder)")


def expand_path(path: str, field: str) -> str:
  """A path with $VARIABLES and ~ replaced.

  Args:
    path: the path.
    field: its field, for messages.
  Raises:
    ValueError: a variable is not set.
  """
  full = os.path.expanduser(os.path.expandvars(path))
  if "$" in full:
    raise ValueError(
      f"{field} is {path!r}, but {full[full.index('$'):].split('/')[0]} is not set: set it to the folder that holds the"
      f" datasets, or give --{field} PATH"
    )
  return full


def expand_fields(config: Any, prefix: str, *fields: str) -> Any:
  """A copy of a config with $VARIABLES and ~ replaced in fields that are a path or a tuple of paths; see `expand_path`."""

  def expanded(field: str) -> Any:
    value = getattr(config, field)
    name = f"{prefix}.{field}"
    return tuple(expand_path(path, name) for path in value) if isinstance(value, tuple) else expand_path(value, name)

  return replace(config, **{field: expanded(field) for field in fields})


__all__ = ["CustomExperiment", "expand_fields", "expand_path"]
