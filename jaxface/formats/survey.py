"""The first pass of packing: reads and decodes every file, before the plan is made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, is_plain_jpeg
from jaxface.formats.members import read_member
from jaxface.formats.parallel import Workers
from jaxface.formats.remote_source import source_root
from jaxface.formats.sources import Source

_CHUNK = 256


@dataclass(frozen=True)
class Finding:
  """Result of the survey for one file.

  Args:
    digest: digest of its bytes; empty if it could not be read.
    bytes: its size.
    size: (height, width) after decoding.
    plain: whether it is a three-channel JPEG, which is stored unchanged if its size is right.
    fault: why it cannot be used, or "".
  """

  digest: str = ""
  bytes: int = 0
  size: tuple[int, int] = (0, 0)
  plain: bool = False
  fault: str = ""


def content_digest(data: bytes) -> str:
  """A digest that identifies equal files.

  Args:
    data: the file's bytes.
  Returns:
    32 hex digits.
  """
  return hashlib.blake2b(data, digest_size=16).hexdigest()


def _look(root: Path, path: str) -> Finding:
  digest, size = "", 0
  try:
    data = read_member(root, path)
    digest, size = content_digest(data), len(data)
    image = decode_image(data, where=str(root / path))
    return Finding(digest, size, (image.shape[0], image.shape[1]), is_plain_jpeg(data))
  except DamagedData as error:
    return Finding(digest, size, fault=error.what)


def _look_at_chunk(task: tuple[str, list[str]]) -> list[Finding]:
  root, paths = task
  return [_look(source_root(root), path) for path in paths]


def survey(source: Source, *, workers: Workers, advance: Callable[[int], object]) -> list[Finding]:
  """Reads and decodes every file of a source.

  Args:
    source: the source.
    workers: the processes to use.
    advance: called with the number of files just done.
  Returns:
    One finding per image of the source, in its order.
  """
  paths = [image.path for image in source.images]
  chunks = [(str(source.root), paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
  found: dict[int, list[Finding]] = {}
  for number, findings in workers.unordered(_look_at_chunk, chunks):
    found[number] = findings
    advance(len(findings))
  return [finding for number in range(len(chunks)) for finding in found[number]]


def common_size(source: Source, findings: list[Finding]) -> tuple[int, int]:
  """The common size of all valid images.

  Args:
    source: the source.
    findings: findings on its images.
  Returns:
    (height, width).
  Raises:
    ValueError: there are several sizes, or no valid image.
  """
  sizes = Counter(finding.size for finding in findings if not finding.fault)
  if not sizes:
    first = next(finding.fault for finding in findings)
    raise ValueError(f"{source.root}: none of {len(findings)} images can be used; {source.images[0].path}: {first}")
  (most, count), *rest = sizes.most_common(2)
  if rest:
    other = next(image.path for image, finding in zip(source.images, findings) if finding.size == rest[0][0])
    raise ValueError(
      f"{source.root}: images have {len(sizes)} different sizes: {count} of {most[0]}×{most[1]} (height × width), but "
      f"{other} of {rest[0][0][0]}×{rest[0][0][1]}. Give --size, such as --size {most[0]}, to crop and resize them all"
    )
  return most
