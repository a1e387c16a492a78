"""Faces of an MXNet record file, read where they are."""

from typing import Any, cast

from jaxface.data.records import RecordSource
from jaxface.formats.recordio_set import RecordIOSet


class RecordIOSource(RecordSource):
  """The faces of a record file, decoded by a thread pool.

  Args:
    records: the open file.
    threads: number of decoding threads; 0 for one per core that this process may use.
  """

  size_of = "the first image of the file"
  advice = "pack the file with --size"

  def fingerprint(self) -> dict[str, Any]:
    """Counts, and the digest of the file; independent of its path."""
    records = cast(RecordIOSet, self.records)
    return {
      "records": records.num_records, "identities": records.num_identities, "image_shape": list(records.image_shape),
      "template": records.template, "recordio_sha256": records.sha256,
    }


__all__ = ["RecordIOSource"]
