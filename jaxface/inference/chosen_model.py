"""The user's default model: the one that commands take where none is given."""

import os
from pathlib import Path

from jaxface.formats.atomic import write_text

# Takes precedence over what `jaxface use` has set; for scripts and containers.
VARIABLE = "JAXFACE_MODEL"


class NoModel(ValueError):
  """No model is given, and no default is set."""


def set_default_model(path: str | Path | None) -> Path | None:
  """Sets the default model of this user, or clears it.

  Args:
    path: model folder or workdir of a run, which is loaded once as a check; None clears the default.
  Returns:
    The absolute path, or None.
  Raises:
    FileNotFoundError: no model there.
    DamagedModel: a model folder that cannot be used.
  """
  if path is None:
    _file().unlink(missing_ok=True)
    return None
  from jaxface.models.saved import load_model

  folder = Path(path).resolve()
  load_model(folder)
  write_text(_file(), f"{folder}\n")
  return folder


def default_model() -> Path | None:
  """The default model: of the environment variable JAXFACE_MODEL, else of `set_default_model`; None if there is none."""
  if given := os.environ.get(VARIABLE):
    return Path(given)
  file = _file()
  return Path(file.read_text(encoding="utf-8").strip()) if file.is_file() else None


def model_path(given: str | Path | None) -> Path:
  """The model that is given, or else the default one.

  Args:
    given: model folder, workdir of a run, or None.
  Raises:
    NoModel: neither; says how to give one.
    FileNotFoundError: the default model is not there any more; says what set it.
  """
  if given:
    return Path(given)
  found = default_model()
  if found is None:
    raise NoModel("no model is given: add --model DIR, or set a default once with `jaxface use DIR`")
  if not found.exists():
    source = f"the environment variable {VARIABLE}" if os.environ.get(VARIABLE) else "`jaxface use`"
    raise FileNotFoundError(f"{found}: the default model, set by {source}, is not there any more: add --model DIR, or set another")
  return found


def _file() -> Path:
  base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
  return Path(base) / "jaxface" / "model"


__all__ = ["VARIABLE", "NoModel", "default_model", "model_path", "set_default_model"]
