"""Checks the metadata of a packed set for tensorflow-datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import Manifest
from jaxface.formats.tfds_metadata import SPLIT


def tfds_faults(out: Path, manifest: Manifest, identity_names: list[str]) -> list[DamagedData]:
  """Compares the three metadata files with the manifest, without using that library.

  Args:
    out: the packed set.
    manifest: its manifest.
    identity_names: names by label.
  Returns:
    All faults.
  """
  expected: dict[str, dict[str, Any]] = {
    "dataset_info.json": {
      "splits": [SPLIT],
      "shard lengths": [shard.records for shard in manifest.shards],
      "bytes": sum(shard.bytes for shard in manifest.shards),
    },
    "features.json": {"image": list(manifest.image_size), "encoding": manifest.encoding, "labels": len(identity_names)},
    "label.labels.txt": {"names": identity_names},
  }
  readers = {"dataset_info.json": _info, "features.json": _features, "label.labels.txt": _labels}
  faults = []
  for name, wanted in expected.items():
    path = out / name
    try:
      found = readers[name](path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
      faults.append(DamagedData(f"metadata cannot be read: {error!r}", file=path))
      continue
    for field in wanted:
      if found[field] != wanted[field]:
        what = f"{field}: {_short(found[field])}, should be {_short(wanted[field])} by the manifest"
        faults.append(DamagedData(what, file=path))
  return faults


def _short(value: object) -> str:
  text = repr(value)
  return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


def _info(text: str) -> dict:
  splits = json.loads(text)["splits"]
  return {
    "splits": [split["name"] for split in splits],
    "shard lengths": [int(length) for length in splits[0]["shardLengths"]],
    "bytes": int(splits[0]["numBytes"]),
  }


def _features(text: str) -> dict:
  features = json.loads(text)["featuresDict"]["features"]
  image = features["image"]["image"]
  return {
    "image": [int(side) for side in image["shape"]["dimensions"]],
    "encoding": image["encodingFormat"],
    "labels": int(features["label"]["classLabel"]["numClasses"]),
  }


def _labels(text: str) -> dict:
  return {"names": text.removesuffix("\n").split("\n")}
