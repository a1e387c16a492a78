"""Faces of an MXNet record file, a tar, a ZIP file and the like, read where they are."""

from typing import Any, cast

from jaxface.data.records import RecordSource
from jaxface.formats.face_set import FaceSet


class ContainerSource(RecordSource):
  """The faces of a container, decoded by a thread pool.

  Args:
    records: the open container.
    threads: number of decoding threads; 0 for one per core that this process may use.
  """

  size_of = "the first image of the file"
  advice = "pack the file with --size"

  def fingerprint(self) -> dict[str, Any]:
    """Counts, and the digest of the contents; independent of the path."""
    records = cast(FaceSet, self.records)
    return {
      "records": records.num_records, "identities": records.num_identities, "image_shape": list(records.image_shape),
      "template": records.template, f"{records.layout}_sha256": records.sha256,
    }


__all__ = ["ContainerSource"]
