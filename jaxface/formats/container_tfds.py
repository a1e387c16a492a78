"""The images of a prepared TFDS folder, read without TensorFlow: its TFRecord files, features and label names."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from jaxface.formats.bounded import read_bounded
from jaxface.formats.errors import DamagedData
from jaxface.formats.example import locate_bytes, parse_example
from jaxface.formats.member_index import Member, label_text
from jaxface.formats.recordset import map_file
from jaxface.formats.tfrecord import FRAME_BYTES, HEADER_BYTES, frame_fault, offsets

INFO, FEATURES = "dataset_info.json", "features.json"
PREFIX = "tfds:"
SPLIT = "train"
LABELS = ("label", "identity", "labels", "person", "id")
NAMES = ("name", "filename", "image/filename", "file_name")


def tfds_folder(name: str) -> Path:
  """The prepared folder of `tfds:NAME`, `tfds:NAME/CONFIG` or `tfds:NAME:VERSION`, newest version first; downloads it where there is none.

  Folders are in `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.

  Raises:
    FileNotFoundError: it is not there and could not be prepared; says by which command it can be.
  """
  dataset, _, version = name.removeprefix(PREFIX).partition(":")
  base = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
  if not dataset or dataset.startswith("/") or ".." in dataset.split("/"):
    raise ValueError(f"{name!r}: should be {PREFIX}NAME")
  found = _prepared(base / dataset, version)
  if found is None:
    try:
      import tensorflow_datasets as tfds

      tfds.builder(f"{dataset}:{version}" if version else dataset, data_dir=str(base)).download_and_prepare()
      found = _prepared(base / dataset, version)
    except Exception as error:  # of the network, of TFDS, or that TensorFlow is not there
      raise FileNotFoundError(f"{name}: not in {base} (TFDS_DATA_DIR), and cannot be prepared here ({type(error).__name__}: {str(error)[:200]}): "
                              f"where there is TensorFlow and a network, run tfds build {dataset}") from error
  if found is None:
    raise FileNotFoundError(f"{name}: {base / dataset} has no folder with {FEATURES}")
  return found


def _prepared(folder: Path, version: str) -> Path | None:
  found = [file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/{FEATURES}") if not version or file.parent.name == version]
  return max(found, key=lambda path: ([int(part) if part.isdecimal() else 0 for part in path.name.split(".")], path.name), default=None)


def tfds_files(folder: Path) -> list[Path]:
  """The record files of the split `train`, or of the only split.

  Raises:
    DamagedData: another file format, or files are missing.
    ValueError: several splits, none called `train`.
  """
  info = _json(folder / INFO)
  splits = {split.get("name"): [int(length) for length in split.get("shardLengths", [])] for split in info.get("splits", [])}
  if not splits or (len(splits) > 1 and SPLIT not in splits):
    raise ValueError(f"{folder}: splits are {', '.join(map(str, splits)) or 'none'}; needs {SPLIT!r}, or one alone")
  if info.get("fileFormat", "tfrecord") != "tfrecord":
    raise DamagedData(f"file format {info['fileFormat']!r}: only tfrecord is read", file=str(folder / INFO))
  split = SPLIT if SPLIT in splits else next(iter(splits))
  files = sorted(folder.glob(f"*-{split}.tfrecord-*-of-{len(splits[split]):05d}"))
  if len(files) != len(splits[split]):
    raise DamagedData(f"announces {len(splits[split])} files of split {split!r}, {len(files)} are there", file=str(folder / INFO))
  return files


def tfds_members(files: list[Path], notes: list[str]) -> Iterator[Member]:
  """The images of the record files of a folder, with the labels' names.

  Raises:
    DamagedData: a checksum is wrong, a file is cut short, or a record has no image or no label.
  """
  folder = files[0].parent
  features = _json(folder / FEATURES).get("featuresDict", {}).get("features", {})
  images = [name for name, feature in features.items() if str(feature.get("pythonClassName", "")).endswith(".Image")]
  label = next((name for name in LABELS if name in features), None)
  if len(images) != 1 or label is None:
    raise ValueError(f"{folder / FEATURES}: needs one image and one of {', '.join(LABELS)}; has {', '.join(features) or 'none'}")
  listed = folder / f"{label}.labels.txt"
  texts = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else None
  name_field = next((name for name in NAMES if name in features), None)
  count = 0
  for number, file in enumerate(files):
    data = map_file(file)
    for offset, length in zip(*(column.tolist() for column in offsets(data, file=str(file)))):
      framed = data[offset : offset + FRAME_BYTES + length]
      if fault := frame_fault(framed, length):
        raise DamagedData(fault, file=str(file), offset=offset, record=count)
      payload = framed[HEADER_BYTES : HEADER_BYTES + length]
      fields = parse_example(payload)
      start, size = locate_bytes(payload, images[0])
      where = f"{file}, record {count}"
      value: object = fields.get(label)
      if texts is not None and isinstance(value, int):
        if not 0 <= value < len(texts):
          raise DamagedData(f"label {value}, but {listed.name} has {len(texts)}", file=str(file), offset=offset, record=count)
        value = texts[value]
      identity = label_text(value, where)
      own = fields.get(name_field, b"") if name_field else b""
      name = own.decode("utf-8", "replace") if isinstance(own, bytes) and own else f"{identity}/{count}"
      yield Member(name, identity, payload[start : start + size], number, offset + HEADER_BYTES + start, size)
      count += 1


def _json(file: Path) -> dict:
  try:
    found = json.loads(read_bounded(file))
  except (ValueError, RecursionError) as error:
    raise DamagedData(f"not JSON: {error}", file=str(file)) from error
  if not isinstance(found, dict):
    raise DamagedData("should be a JSON object", file=str(file))
  return found


__all__ = ["FEATURES", "INFO", "PREFIX", "tfds_files", "tfds_folder", "tfds_members"]
