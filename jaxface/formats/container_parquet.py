"""The images of Parquet files, as the Hugging Face `datasets` library writes them: a column {bytes, path}, and one of labels.

Source: Hugging Face, `datasets`, `features/image.py` (storage of an image) and the key `huggingface` of the schema's metadata.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.member_index import Member, label_text

LABELS = ("label", "labels", "identity", "identity_id", "person", "person_id", "id", "class")
_ROWS = 256


def parquet_members(files: list[Path], notes: list[str]) -> Iterator[Member]:
  """The images of the files, in order; their bytes are compressed inside, so the offsets are not set.

  Raises:
    DamagedData: a file is cut short, a row has no image bytes, or a label is not an identity.
    ValueError: no column of images or of labels.
  """
  import pyarrow as pa
  import pyarrow.parquet as pq

  count = 0
  for file in files:
    try:
      with pq.ParquetFile(file) as table:
        image, label, texts = _columns(table.schema_arrow, file)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[image, label]):
          for row, value in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist()):
            path: Any = None
            picture: Any = row
            if isinstance(row, dict):
              picture, path = row.get("bytes"), row.get("path")
            if not picture:
              raise DamagedData(f"row has no image bytes in column {image!r}{f', only the path {path!r}' if path else ''}", file=str(file), record=count)
            if texts is not None and isinstance(value, int):
              if not 0 <= value < len(texts):
                raise DamagedData(f"label {value}, but the schema names {len(texts)}", file=str(file), record=count)
              value = texts[value]
            identity = label_text(value, f"{file}, row {count}, column {label!r}")
            yield Member(f"{identity}/{count}", identity, picture)
            count += 1
    except (pa.ArrowException, OSError) as error:
      raise DamagedData(f"not a complete Parquet file: {error}", file=str(file)) from error


def _columns(schema: Any, file: Path) -> tuple[str, str, list[str] | None]:
  """Names of the columns of images and labels, and the names of the labels if the schema has them."""
  import pyarrow as pa

  def holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
      return any(kind.field(part).name == "bytes" for part in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

  images = [field.name for field in schema if holds_images(field.type)]
  label = next((name for name in LABELS if name in schema.names), None)
  if len(images) != 1 or label is None:
    raise ValueError(f"{file}: needs one column of image bytes and one of {', '.join(LABELS)}; has {', '.join(schema.names)}")
  try:
    features = json.loads(dict(schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    texts = features[label].get("names")
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    texts = None
  return images[0], label, texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None


__all__ = ["parquet_members"]
