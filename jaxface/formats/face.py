"""One record of a packed set: a face's image bytes with label, name and id, as a `tf.train.Example`."""

from __future__ import annotations

from dataclasses import dataclass

from jaxface.formats.errors import DamagedData
from jaxface.formats.example import encode_example, parse_example


@dataclass(frozen=True)
class Face:
  """A stored face.

  Args:
    image: the bytes of an image file (JPEG).
    label: number of the identity, from 0.
    name: path in the source without its suffix, such as "Aaron_Eckhart/Aaron_Eckhart_0001".
    id: number of the record, kept when a set is resharded.
  """

  image: bytes | memoryview
  label: int
  name: str
  id: int


def encode_face(face: Face) -> bytes:
  """Serialises a face; equal faces give equal bytes.

  Args:
    face: the face.
  Returns:
    The payload of a record.
  """
  return encode_example({"image": bytes(face.image), "label": face.label, "name": face.name, "id": face.id})


def parse_face(payload: bytes | memoryview) -> Face:
  """Reads a face back.

  Args:
    payload: the payload of a record.
  Returns:
    The face.
  Raises:
    DamagedData: not a `tf.train.Example`, or without the fields of a face.
  """
  fields = parse_example(payload)
  image, label, name, number = (fields.get(key) for key in ("image", "label", "name", "id"))
  if not (isinstance(image, bytes) and isinstance(label, int) and isinstance(name, bytes) and isinstance(number, int)):
    raise DamagedData(f"fields {sorted(fields)}: a face has image and name (bytes), label and id (int64), one of each")
  try:
    return Face(image=image, label=label, name=name.decode(), id=number)
  except UnicodeDecodeError as error:
    raise DamagedData(f"name {name!r} is not UTF-8") from error
