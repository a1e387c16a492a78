"""What a run makes its model from: the images it trains on, and the model it begins with."""

import json
from pathlib import Path

from jaxface.data.config import DataConfig
from jaxface.formats import provenance
from jaxface.formats.atomic import write_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import read_manifest
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.models.card import lineage_of
from jaxface.models.saved import describe_model

RENDERED = Ancestor("images", "synthetic faces", "Apache-2.0", "rendered by jaxface; no photographs of people")


def images_of(config: DataConfig) -> Ancestor:
  """The images of a run; what the config says of them goes before what their record set says."""
  if not config.records:
    return RENDERED
  manifest = read_manifest(config.records)
  licence, origin = config.licence or manifest.licence, config.origin or manifest.origin
  return Ancestor("images", manifest.source or Path(config.records).name, licence, origin)


def run_lineage(data: DataConfig, init_from: str, file: Path, *, begun: bool = False) -> Lineage:
  """Everything that a run's model is made from.

  Args:
    data: what is trained on; its images are packed already.
    init_from: model folder or workdir that the run begins with, or "".
    file: keeps the lineage, for a continued run whose first model is gone.
    begun: the run has states already; what `file` says then stays, since a call that is refused must not change it.
  """
  lineage: Lineage = (images_of(data),)
  if init_from:
    try:
      lineage += lineage_of(describe_model(init_from).meta)
    except FileNotFoundError:
      if not file.is_file():
        raise
      lineage += _kept(file)[1:]
  if not (begun and file.is_file()):
    write_json(file, provenance.to_json(lineage))
  return lineage


def _kept(file: Path) -> Lineage:
  try:
    return provenance.from_json(json.loads(file.read_text(encoding="utf-8")))
  except ValueError as error:
    raise DamagedData(str(error), file=file) from error


__all__ = ["RENDERED", "images_of", "run_lineage"]
