"""Embeddings as Parquet: text `name`, int64 `label`, `embedding` as lists of one length of float32, and metadata in the schema."""

import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

import numpy as np

META_KEY = b"jaxface"
DIGEST_KEY = b"model_digest"


def arrow_schema(size: int, meta: str, *, label: bool) -> Any:
  """The Arrow schema of a file.

  Args:
    size: D.
    meta: text of `jaxface.formats.embeddings.meta_text`; the schema's metadata have it under "jaxface", and the digest of the model under
      "model_digest".
    label: whether there are labels.
  """
  import pyarrow as pa

  fields = [("name", pa.string()), *([("label", pa.int64())] if label else []), ("embedding", pa.list_(pa.float32(), size))]
  digest = json.loads(meta).get("meta", {}).get("model_digest")
  return pa.schema(fields, {META_KEY: meta.encode(), **({DIGEST_KEY: str(digest).encode()} if digest else {})})


def write_parquet_parts(
  file: IO[bytes], names: Sequence[str], label_n: np.ndarray | None, size: int, parts: Iterable[np.ndarray], meta: str,
) -> int:
  """Writes a file, a row group or more per part; pages have checksums.

  Args:
    file: open for writing.
    names: N names.
    label_n: [N] int, or None.
    size: D.
    parts: arrays [n, D] float32, N rows in total.
    meta: see `arrow_schema`.
  Returns:
    The number of rows.
  """
  import pyarrow as pa
  from pyarrow import parquet

  schema = arrow_schema(size, meta, label=label_n is not None)
  start = 0
  with parquet.ParquetWriter(file, schema, use_dictionary=False, compression="zstd", write_page_checksum=True) as writer:
    for part_nd in parts:
      stop = start + len(part_nd)
      columns = [
        pa.array(names[start:stop], pa.string()),
        *([] if label_n is None else [pa.array(label_n[start:stop], pa.int64())]),
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(part_nd, np.float32).reshape(-1)), size),
      ]
      writer.write_table(pa.Table.from_arrays(columns, schema=schema))
      start = stop
  return start


__all__ = ["DIGEST_KEY", "META_KEY", "arrow_schema", "write_parquet_parts"]
