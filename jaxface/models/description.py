"""The description of a saved model, `model.json`: reading it needs neither the variables nor a registered network."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.formats.checked_json import parse_checked_json
from jaxface.formats.errors import DamagedData
from jaxface.models.card import model_card
from jaxface.models.digests import model_digest
from jaxface.models.kept_source import check_sources
from jaxface.models.preprocess import Preprocess

FORMAT_VERSION = 3
# Versions that this release reads.
FORMATS = (2, 3)
FILE = "model.json"
ENTRIES = {
  "format_version": int,
  "model": str,
  "options": dict,
  "preprocess": dict,
  "embedding_size": int,
  "parameters": int,
  "meta": dict,
}


class DamagedModel(ValueError):
  """A model directory that cannot be used; the message names the file and the fault."""


def card_text(plain: dict[str, Any]) -> str:
  """Text of the card of a parsed `model.json`."""
  return model_card(
    plain["model"], plain["options"], Preprocess.from_json(plain["preprocess"]),
    embedding_size=plain["embedding_size"], parameters=plain["parameters"], meta=plain["meta"],
  )


def card_of(path: Path | str) -> str:
  """Text of the card of a model directory or workdir; reads no variables and needs no registered network.

  Raises:
    FileNotFoundError, DamagedModel: see `load_model`.
  """
  path = model_folder(path)
  plain = parse_description(path / FILE, (path / FILE).read_bytes())
  try:
    return card_text(plain)
  except ValueError as error:
    raise DamagedModel(f"{path / FILE}: {error}") from error


@dataclass(frozen=True)
class Description:
  """Contents of model.json, without the variables.

  Attributes:
    path: path of the model directory or workdir, as it was given.
    name, options, preprocess, meta: see `SavedModel`.
    digest: see `SavedModel`; "" for a folder of format 2, whose description has no digest of the variables.
  """

  path: str
  name: str
  options: dict[str, Any]
  preprocess: Preprocess
  meta: dict[str, Any] = field(default_factory=dict)
  digest: str = ""


def describe_model(path: Path | str) -> Description:
  """Description of a model directory, or of the one in a workdir; reads no variables.

  Raises:
    FileNotFoundError, DamagedModel: see `load_model`.
  """
  file = model_folder(path) / FILE
  plain = parse_description(file, file.read_bytes())
  check_sources(file.parent, plain)
  try:
    preprocess = Preprocess.from_json(plain["preprocess"])
  except ValueError as error:
    raise DamagedModel(f"{file}: {error}") from error
  variables = plain.get("variables", "").partition("-")[2]
  digest = model_digest(plain["model"], plain["options"], preprocess, variables) if variables else ""
  return Description(str(path), plain["model"], plain["options"], preprocess, plain["meta"], digest)


def model_folder(path: Path | str) -> Path:
  """The model directory of a path: itself, or that in a workdir.

  Raises:
    FileNotFoundError: there is none.
  """
  path = Path(path)
  if not (path / FILE).is_file() and (path / "model").is_dir():
    path = path / "model"
  if not (path / FILE).is_file():
    raise FileNotFoundError(f"{path / FILE}: no such file: {path} is neither a model directory nor a workdir with one")
  return path


def parse_description(file: Path, text: bytes) -> dict[str, Any]:
  """The entries of `model.json`, checked.

  Args:
    file: for messages.
    text: its bytes.
  Raises:
    DamagedModel: damaged, or an entry is not valid.
  """
  try:
    plain = parse_checked_json(text, file=file)
  except DamagedData as error:
    raise DamagedModel(str(error)) from error
  if plain.get("format_version") not in FORMATS:
    raise DamagedModel(
      f"{file}: format_version {plain.get('format_version')!r}, this release reads {' and '.join(map(str, FORMATS))}"
    )
  name = plain.get("variables", "variables")
  if not isinstance(name, str) or not re.fullmatch(r"variables(-[0-9a-f]+)?", name):
    raise DamagedModel(f"{file}: entry 'variables' is {name!r}, expected the name of a folder beside it, variables-DIGEST")
  for key, kind in ENTRIES.items():
    if not isinstance(plain.get(key), kind):
      raise DamagedModel(f"{file}: entry {key!r} is {plain.get(key)!r}, expected {kind.__name__}")
  return plain


__all__ = [
  "FILE", "FORMAT_VERSION", "DamagedModel", "Description", "card_of", "card_text", "describe_model", "model_folder", "parse_description",
]
