"""Metadata that tensorflow-datasets needs next to the shards, written without TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from jaxface.formats.atomic import atomic_file
from jaxface.formats.manifest import Shard

DATASET = "faces"
SPLIT = "train"
FILES = ("dataset_info.json", "features.json", "label.labels.txt")


def write_tfds_metadata(
  folder: str | Path, shards: Sequence[Shard], identity_names: Sequence[str], image_size: tuple[int, int, int]
) -> None:
  """Writes features, splits and label names, so that `tfds.builder_from_directory(folder)` opens the set.

  Args:
    folder: folder of the packed set.
    shards: its shards in order.
    identity_names: names by label.
    image_size: (height, width, channels) of every image.
  """
  # Imported here, since it takes half a second and only writers need it.
  import numpy as np
  import tensorflow_datasets as tfds

  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=tuple(image_size), encoding_format="jpeg"),
      "label": tfds.features.ClassLabel(names=list(identity_names)),
      "name": tfds.features.Text(),
      "id": tfds.features.Scalar(np.int64),
    }
  )
  identity = tfds.core.dataset_info.DatasetIdentity(
    name=DATASET, version="1.0.0", data_dir=str(folder), module_name=""
  )
  info = tfds.core.DatasetInfo(builder=identity, description="Faces packed by jaxface.", features=features)
  template = tfds.core.ShardedFileTemplate(
    data_dir=tfds.core.Path(folder), dataset_name=DATASET, split=SPLIT, filetype_suffix="tfrecord"
  )
  split = tfds.core.SplitInfo(
    name=SPLIT,
    shard_lengths=[shard.records for shard in shards],
    num_bytes=sum(shard.bytes for shard in shards),
    filename_template=template,
  )
  info.set_file_format("tfrecord")
  info.set_splits(tfds.core.splits.SplitDict([split]))
  with tempfile.TemporaryDirectory(prefix=".tfds.", suffix=".tmp", dir=folder) as temporary:
    info.write_to_directory(temporary)
    for name in FILES:
      with atomic_file(Path(folder) / name) as file:
        file.write((Path(temporary) / name).read_bytes())
