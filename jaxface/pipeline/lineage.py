"""Lineage of a run's model: the training images and the initial model."""

import json
from pathlib import Path

from jaxface.data.config import DataConfig
from jaxface.formats import provenance
from jaxface.formats.checked_json import parse_checked_json, write_checked_json
from jaxface.formats.containers import container_without_set
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import read_manifest
from jaxface.formats.provenance import Ancestor, Lineage
from jaxface.formats.recordset import small_files
from jaxface.formats.remote import is_url
from jaxface.models.card import lineage_of
from jaxface.models.description import describe_model

RENDERED = Ancestor("images", "synthetic faces", "Apache-2.0", "rendered by jaxface; no photographs of people")


def images_of(config: DataConfig) -> Lineage:
  """The images of a run, one entry for each set; values of the config override those of the packed records."""
  sets = config.mixture or ((config.records,) if config.records else ())
  return tuple(_images_of(path, config) for path in sets) or (RENDERED,)


def _images_of(records: str, config: DataConfig) -> Ancestor:
  if not is_url(records) and (file := container_without_set(records)):
    return Ancestor("images", file.name, config.licence, config.origin)
  manifest = read_manifest(small_files(records))
  licence, origin = config.licence or manifest.licence, config.origin or manifest.origin
  return Ancestor("images", manifest.source or Path(records).name, licence, origin)


def run_lineage(data: DataConfig, init_from: str, file: Path, *, begun: bool = False) -> Lineage:
  """The images and models from which a run's model is made.

  Args:
    data: the training set; its images are packed already.
    init_from: model folder or workdir that the run starts from, or "".
    file: stores the lineage, for resuming after the initial model was deleted.
    begun: the run has checkpoints already; then `file` is not changed, since the call may still be rejected.
  """
  lineage = images_of(data)
  if init_from:
    try:
      lineage += lineage_of(describe_model(init_from).meta)
    except FileNotFoundError:
      if not file.is_file():
        raise
      lineage += _kept(file)[len(lineage) :]
  if not (begun and file.is_file()):
    write_checked_json(file, {"lineage": provenance.to_json(lineage)})
  return lineage


def _kept(file: Path) -> Lineage:
  text = file.read_bytes()
  try:
    # Earlier releases wrote a list, without a checksum.
    plain = json.loads(text) if text.startswith(b"[") else parse_checked_json(text, file=file)["lineage"]
    return provenance.from_json(plain)
  except DamagedData:
    raise
  except (ValueError, KeyError) as error:
    raise DamagedData(str(error), file=file) from error


__all__ = ["RENDERED", "images_of", "run_lineage"]
