"""The packing plan: records and shards, determined from the survey before anything is written."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.formats.identities import all_numbers, identity_order
from jaxface.formats.images import decode_image, encode_jpeg, fit_image
from jaxface.formats.manifest import UNKNOWN_TEMPLATE
from jaxface.formats.members import read_member
from jaxface.formats.sources import LAYOUTS, Source, SourceImage
from jaxface.formats.survey import Finding, common_size
from jaxface.formats.tfrecord import FRAME_BYTES

ON_DAMAGE = ("skip", "error")
DUPLICATES = ("keep", "drop", "error")

_SAMPLE = 32
_RECORD_BYTES = 100


@dataclass(frozen=True)
class PackOptions:
  """The options that, with the source, determine the bytes of a packed set; see `pack` for the meanings."""

  layout: str = "folders"
  size: tuple[int, int] | None = None
  shard_mb: float = 32
  template: str | None = None
  on_damage: str = "skip"
  duplicates: str = "keep"

  def __post_init__(self):
    for name, value, valid in (
      ("layout", self.layout, LAYOUTS),
      ("on_damage", self.on_damage, ON_DAMAGE),
      ("duplicates", self.duplicates, DUPLICATES),
    ):
      if value not in valid:
        raise ValueError(f"{name} {value!r}: takes {', '.join(valid)}")
    if not self.shard_mb > 0:
      raise ValueError(f"shard_mb is {self.shard_mb}, must be above 0")
    if self.size is not None and not (len(self.size) == 2 and all(1 <= side <= 8000 for side in self.size)):
      raise ValueError(f"size is {self.size}, must be (height, width), each from 1 to 8000 pixels")


@dataclass(frozen=True)
class Entry:
  """One record to be written.

  Args:
    path: path of the image, relative to the source's root.
    name: name of the record.
    label: number of the identity.
    id: number of the record.
    digest: digest of the file's bytes, from the survey.
    keep: whether the file's bytes are stored unchanged.
  """

  path: str
  name: str
  label: int
  id: int
  digest: str
  keep: bool


@dataclass(frozen=True)
class Plan:
  """All records by shard, with notes and findings; see `Manifest` for the other fields."""

  shards: tuple[tuple[Entry, ...], ...]
  identity_names: tuple[str, ...]
  size: tuple[int, int]
  template: str
  bytes: int
  fingerprint: str
  damaged: tuple[dict[str, str], ...]
  duplicates: tuple[dict[str, Any], ...]
  notes: tuple[str, ...]

  def __len__(self) -> int:
    return sum(map(len, self.shards))


def _duplicates(sound: list[tuple[SourceImage, Finding]]) -> list[list[SourceImage]]:
  groups = defaultdict(list)
  for image, finding in sound:
    groups[finding.digest].append(image)
  return [group for group in groups.values() if len(group) > 1]


def _dropped(groups: list[list[SourceImage]]) -> set[str]:
  """Copies within an identity except the first; all copies across identities, since a label must be wrong."""
  paths: set[str] = set()
  for group in groups:
    across = len({image.identity for image in group}) > 1
    paths.update(image.path for image in (group if across else group[1:]))
  return paths


def _total_bytes(source: Source, sound: list[tuple[SourceImage, Finding]], size: tuple[int, int]) -> int:
  """Bytes of all shards: exact for kept files, estimated from an even sample for re-encoded ones."""
  overhead = (FRAME_BYTES + _RECORD_BYTES) * len(sound)
  kept = sum(finding.bytes for _, finding in sound if finding.plain and finding.size == size)
  anew = [image for image, finding in sound if not (finding.plain and finding.size == size)]
  sample = anew[:: -(-len(anew) // _SAMPLE)] if anew else []
  lengths = []
  for image in sample:
    path = source.root / image.path
    lengths.append(len(encode_jpeg(fit_image(decode_image(read_member(source.root, image.path), where=str(path)), size))))
  return overhead + kept + (sum(lengths) * len(anew) // len(sample) if sample else 0)


def make_plan(source: Source, findings: list[Finding], options: PackOptions) -> Plan:
  """Makes the plan of a packed set.

  Args:
    source: the source.
    findings: findings on its images, in order.
    options: options of packing.
  Returns:
    The plan; equal sources and options give equal plans.
  Raises:
    DamagedData: a damaged image, with on_damage="error".
    ValueError: duplicates, with duplicates="error"; no usable image; several sizes and no size given.
  """
  notes = []
  pairs = list(zip(source.images, findings))
  damaged = [{"file": image.path, "what": finding.fault} for image, finding in pairs if finding.fault]
  if damaged and options.on_damage == "error":
    raise DamagedData(damaged[0]["what"], file=source.root / damaged[0]["file"])
  if damaged:
    first = f"{damaged[0]['file']}: {damaged[0]['what']}"
    notes.append(f"{len(damaged)} damaged images are skipped and listed in the manifest; the first is {first}.")
  sound = [(image, finding) for image, finding in pairs if not finding.fault]
  size = common_size(source, findings) if options.size is None or not sound else options.size

  groups = _duplicates(sound)
  listed = tuple(
    {"names": [image.name for image in group], "across_identities": len({image.identity for image in group}) > 1}
    for group in groups
  )
  if groups:
    across = sum(bool(group["across_identities"]) for group in listed)
    what = f"{len(groups)} groups of files have equal bytes, {across} of them under several identities"
    if options.duplicates == "error":
      raise ValueError(f"{source.root}: {what}; the first: {', '.join(image.path for image in groups[0])}")
    gone = _dropped(groups) if options.duplicates == "drop" else set()
    sound = [(image, finding) for image, finding in sound if image.path not in gone]
    notes.append(f"{what}: {f'{len(gone)} files are dropped' if gone else 'all are kept'}, listed in the manifest.")
    if not sound:
      raise ValueError(f"{source.root}: no image is left after dropping duplicates")

  identity_names = identity_order({image.identity for image, _ in sound})
  notes += _identity_notes(source, sound, identity_names)
  label = {name: number for number, name in enumerate(identity_names)}
  shuffled = sorted(sound, key=lambda pair: (hashlib.sha256(pair[0].name.encode()).digest(), pair[0].name))
  entries = [
    Entry(image.path, image.name, label[image.identity], number, finding.digest, finding.plain and finding.size == size)
    for number, (image, finding) in enumerate(shuffled)
  ]
  total = _total_bytes(source, sound, size)
  num_shards = min(len(entries), max(1, -(-total // int(options.shard_mb * 1e6))))
  cuts = [len(entries) * shard // num_shards for shard in range(num_shards + 1)]
  contents = [[image.name, image.identity, finding.digest, finding.fault] for image, finding in pairs]
  return Plan(
    shards=tuple(tuple(entries[start:end]) for start, end in itertools.pairwise(cuts)),
    identity_names=identity_names,
    size=size,
    template=options.template or UNKNOWN_TEMPLATE,
    bytes=total,
    fingerprint=hashlib.sha256(json.dumps([contents, asdict(options)]).encode()).hexdigest(),
    damaged=tuple(damaged),
    duplicates=listed,
    notes=tuple(notes),
  )


def _identity_notes(
  source: Source, sound: list[tuple[SourceImage, Finding]], identity_names: tuple[str, ...]
) -> list[str]:
  notes = []
  lost = len({image.identity for image in source.images}) - len(identity_names)
  if lost:
    notes.append(f"{lost} identities have no usable image and get no label.")
  counts = Counter(image.identity for image, _ in sound)
  single = sum(count == 1 for count in counts.values())
  if single:
    some = "every identity has" if single == len(counts) else f"{single} of {len(counts)} identities have"
    notes.append(f"{some} only one image: they form no pairs of the same person.")
  if all_numbers(set(identity_names)) and [int(name) for name in identity_names] != list(range(len(identity_names))):
    notes.append(
      f"identity numbers run from {identity_names[0]} to {identity_names[-1]} with gaps: labels are 0 to "
      f"{len(identity_names) - 1}, identities.tsv keeps the numbers."
    )
  return notes
