"""Fingerprints of a source's contents, independent of its location: facts and digests, equal for equal data."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def digest(parts: Iterable[str | bytes | np.ndarray]) -> str:
  """SHA-256 over a sequence of strings, bytes and arrays, in hex; includes lengths, dtypes and shapes."""
  total = hashlib.sha256()
  for part in parts:
    if isinstance(part, np.ndarray):
      head, body = f"{part.dtype.str}{part.shape}", np.ascontiguousarray(part).tobytes()
    else:
      body = part.encode() if isinstance(part, str) else part
      head = str(len(body))
    total.update(f"{head}:".encode() + body)
  return total.hexdigest()


def fingerprint(source: Any) -> dict[str, Any]:
  """Fingerprint of a source: the result of its `fingerprint`, or else its names, labels and sizes.

  Args:
    source: any source of faces, see `jaxface.data.source`.
  Returns:
    JSON values by name.
  """
  own = getattr(source, "fingerprint", None)
  if own is not None:
    return own()
  return {
    "records": int(source.num_records), "identities": int(source.num_identities), "image_shape": list(source.image_shape),
    "template": source.template, "names_sha256": digest(source.names()), "labels_sha256": digest([np.asarray(source.label_n)]),
  }


__all__ = ["digest", "fingerprint"]
