"""The data of a run: source of the faces, held-out identities, order of the records."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from jaxface.data.container import ContainerSource
from jaxface.data.fingerprint import digest
from jaxface.data.loader import ON_DAMAGE
from jaxface.data.mixture import MixtureOrder, MixtureSource
from jaxface.data.order import BalancedOrder, UniformOrder
from jaxface.data.records import RecordSource
from jaxface.data.remember import RememberingSource
from jaxface.data.source import Source, parts, shards
from jaxface.data.stream import WINDOW, StreamOrder
from jaxface.data.subset import SubsetSource, split_identities
from jaxface.data.synthetic import SyntheticSource
from jaxface.data.triplets import MINERS, TripletOrder, mine
from jaxface.formats.containers import container_without_set, open_container
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.manifest import FILE, UNKNOWN_TEMPLATE
from jaxface.formats.parallel import num_cores
from jaxface.formats.provenance import provenance_text
from jaxface.formats.recordset import RecordSet
from jaxface.formats.remote import is_url
from jaxface.geometry.templates import check_template_name
from jaxface.losses.ranges import check_range

ORDERS = ("uniform", "balanced", "triplets", "stream")
REMOTE_THREADS = 32
SEEDS = 2**31 - 1  # the maximum: some generators take signed 32-bit seeds


@dataclass(frozen=True)
class SyntheticConfig:
  """Rendered faces, used if a run has neither records nor images.

  Attributes:
    identities: number of identities, including those held out.
    images_per_identity: images of each identity.
    size: side length in pixels.
    seed: another seed gives other people.
    remember: keep each rendered image in memory (750 MB at the defaults); otherwise every read renders again.
  """

  identities: int = 1000
  images_per_identity: int = 20
  size: int = 112
  seed: int = 0
  remember: bool = True

  def __post_init__(self) -> None:
    check_range(self, "identities", 1)
    check_range(self, "images_per_identity", 1)
    check_range(self, "size", 8, 2**12, what="side length in pixels")
    check_range(self, "seed", 0, SEEDS)


@dataclass(frozen=True)
class DataConfig:
  """The training data of a run.

  Attributes:
    records: folder or URL (gs://BUCKET/SET) of a packed set, or of a container (MXNet `.rec`, `.tar`, `.zip`, `.parquet`, LMDB, TFDS), its file, or `tfds:NAME`.
    mixture: several of these, to train on together. With shell commands, paths with commas between them.
    weights: share of the images of each set of `mixture`, relative to the others; it has its own epochs. Without weights each image of
      all sets comes once per epoch.
    shared_identities: identities of the same name in several sets of `mixture` are one identity; otherwise each set has its own.
    images: folder of images to pack first; ignored if `records` or `mixture` is given.
    align: find one face of each photo of `images` first, the large and central one, and align it to `template` or else arcface112.
    size: side length in pixels to which images are resized when packed; 0 keeps their size.
    template: alignment template that `images` or a record file follow, "none" for none; "" if unknown.
    licence: licence of the images, for the model's card and exports; "" uses that of the record set.
    origin: author or source of the images; likewise.
    synthetic: the faces to render if neither is given.
    order: "uniform", or "balanced": each batch is identities_per_batch × images_per_identity records, filled up to the
      batch size with records of other identities; or "triplets": mined offline, in the order anchor, positive, negative;
      or "stream": shards from their beginning to their end, see `jaxface.data.StreamOrder`.
    stream_lanes: number of shards that a stream reads at once, up to which hosts read shards of their own; it divides the batch size. 0 takes
      the largest possible one up to 8.
    stream_window: number of records in a row, of each lane, that a stream mixes.
    stream_memory: megabytes of shards at URLs that a stream keeps in memory, on each host; at least two windows of each lane of the host.
    identities_per_batch: number of identities in a balanced batch.
    images_per_identity: images of each identity in a balanced batch; identities with fewer images repeat them.
    embeddings: file of `jaxface embed` with all records, from which triplets are mined.
    mining: "semi_hard", "hard" or "easy", see `jaxface.data.triplets.mine`.
    mining_margin: margin of semi-hard mining, a squared distance of unit embeddings.
    min_images: identities with fewer images are ignored.
    holdout: share of the identities held out of training for verification.
    seed: seed of the choice of held-out identities; independent of the training seed, so that runs are evaluated on the same
      people.
    threads: number of decoding threads; 0 for one per core.
    on_damage: "substitute" replaces unreadable records by others, with a warning; "raise" ends the run.
  """

  records: str = ""
  mixture: tuple[str, ...] = ()
  weights: tuple[float, ...] = ()
  shared_identities: bool = False
  images: str = ""
  align: bool = False
  size: int = 0
  template: str = ""
  licence: str = ""
  origin: str = ""
  synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
  order: Literal["uniform", "balanced", "triplets", "stream"] = "uniform"
  stream_lanes: int = 0
  stream_window: int = WINDOW
  stream_memory: int = 1024
  identities_per_batch: int = 32
  images_per_identity: int = 4
  embeddings: str = ""
  mining: Literal["semi_hard", "hard", "easy"] = "semi_hard"
  mining_margin: float = 0.2
  min_images: int = 1
  holdout: float = 0.0
  seed: int = 0
  threads: int = 0
  on_damage: Literal["substitute", "raise"] = "substitute"

  def __post_init__(self):
    for name, valid in (("order", ORDERS), ("on_damage", ON_DAMAGE), ("mining", MINERS)):
      if getattr(self, name) not in valid:
        raise ValueError(f"data.{name} is {getattr(self, name)!r}, should be one of {', '.join(valid)}")
    check_template_name("data.template", self.template)
    if self.align and (not self.images or self.template == "none"):
      raise ValueError("data.align is for data.images, photos that are to be aligned to a template")
    for name, least in (("size", 0), ("threads", 0), ("stream_lanes", 0), ("stream_window", 1), ("stream_memory", 1), ("min_images", 1), ("identities_per_batch", 1),
                        ("images_per_identity", 1)):
      if getattr(self, name) < least:
        raise ValueError(f"data.{name} is {getattr(self, name)}, should be at least {least}")
    check_range(self, "seed", 0, SEEDS)
    self._check_mixture()
    if not 0 <= self.mining_margin < 4:
      raise ValueError(f"data.mining_margin is {self.mining_margin}, should be a squared distance of unit vectors: at least 0, less than 4")
    if self.order == "triplets" and not self.embeddings:
      raise ValueError(
        "data.order is triplets, which are mined from data.embeddings: give a file that jaxface embed made of these records"
      )
    for name in ("licence", "origin"):
      provenance_text(f"data.{name}", getattr(self, name))
    if not 0 <= self.holdout < 1:
      raise ValueError(f"data.holdout is {self.holdout}, should be a share of the identities: at least 0, less than 1")

  def _check_mixture(self) -> None:
    if self.mixture and self.records:
      raise ValueError("data.records and data.mixture are both given: give one of them")
    if not all(isinstance(path, str) and path for path in self.mixture):
      raise ValueError(f"data.mixture is {self.mixture!r}: needs paths of record sets")
    if self.mixture and self.order == "triplets":
      raise ValueError("data.order triplets needs one record set, whose embeddings are mined: pack the images of data.mixture into one")
    if self.weights and len(self.weights) != len(self.mixture):
      raise ValueError(f"data.weights has {len(self.weights)} numbers for {len(self.mixture)} sets of data.mixture: needs one for each")
    if not all(isinstance(weight, (int, float)) and 0 < weight < float("inf") for weight in self.weights):
      raise ValueError(f"data.weights is {self.weights!r}: needs positive numbers; leave a set without weight out of data.mixture")
    if self.weights and self.order != "uniform":
      raise ValueError(f"data.weights needs data.order uniform; {self.order} batches are made of the identities of all sets alike")

  @property
  def unpacked(self) -> bool:
    """Whether the faces are `images` that must be packed first."""
    return bool(self.images and not self.records and not self.mixture)


def has_records(path: str | Path) -> bool:
  """Whether a packed set or a container of faces is at a path; yes for a URL, which is not looked at."""
  return is_url(path) or (Path(path) / FILE).is_file() or container_without_set(path) is not None


def open_records(path: str | Path, threads: int = 0, *, template: str = "", memory: int = 0) -> RecordSource:
  """A packed set, or a container such as an MXNet record file, as a source.

  Args:
    path: folder or URL of the set, or what `find_container` finds.
    threads: number of decoding threads; 0 for one per core, and 32 for a URL, which mostly wait.
    template: alignment template of a container; packed sets have their own.
    memory: bytes of blocks that are kept of a set at a URL, see `RecordSet.open`.
  Raises:
    FileNotFoundError: no packed set there.
    DamagedData: its parts are inconsistent.
  """
  if is_url(path):
    return RecordSource(RecordSet.open(path, memory=memory), threads or max(REMOTE_THREADS, num_cores()))
  if file := container_without_set(path):
    return ContainerSource(open_container(file, template=template or UNKNOWN_TEMPLATE, progress=sys.stderr.isatty()), threads)
  return RecordSource(RecordSet.open(path), threads)


def open_source(config: DataConfig) -> tuple[Source, Source | None]:
  """The training faces, and those of the held-out identities.

  Args:
    config: the data config.
  Returns:
    (training source, held-out source or None), disjoint in identities, each with its own dense labels (see
    `SubsetSource` for the original ones).
  Raises:
    ValueError: images that are not packed yet, sets that do not mix, or no identities left.
  """
  if config.unpacked:
    raise ValueError(
      f"data.images {config.images!r} is not packed yet: python -m tfrecords_tools pack {config.images} OUT, then give "
      "data.records OUT"
    )
  whole: Source
  if config.mixture:
    whole = _open_mixture(config)
  elif config.records:
    whole = open_records(config.records, config.threads, template=config.template, memory=_memory(config))
  else:
    faces = config.synthetic
    whole = SyntheticSource(faces.identities, faces.images_per_identity, faces.size, faces.seed)
    whole = RememberingSource(whole) if faces.remember else whole
  if config.min_images == 1 and not config.holdout:
    return whole, None
  train_i, holdout_i = split_identities(
    whole.label_n, min_images=config.min_images, holdout=config.holdout, seed=config.seed
  )
  return SubsetSource(whole, train_i), SubsetSource(whole, holdout_i) if len(holdout_i) else None


def _memory(config: DataConfig) -> int:
  return config.stream_memory * 1_000_000 if config.order == "stream" else 0


def _open_mixture(config: DataConfig) -> MixtureSource:
  last = [Path(path).absolute().name for path in config.mixture]
  names = [name if last.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(last)]
  memory = _memory(config) // len(config.mixture)
  sources = [open_records(path, config.threads, template=config.template, memory=memory) for path in config.mixture]
  return MixtureSource(sources, names, shared=config.shared_identities)


def make_order(
  config: DataConfig, source: Source, batch_size: int, *, seed: int = 0
) -> UniformOrder | BalancedOrder | TripletOrder | MixtureOrder | StreamOrder:
  """The order of the records in a run.

  Args:
    config: the data config.
    source: the training source.
    batch_size: global batch size, over all hosts.
    seed: another seed gives another order.
  Raises:
    ValueError: a balanced batch that does not fit the batch size or the source, a stream of records without shards or with lanes that do not fit, a batch that would split a triplet, a
      record without an embedding, a set of a mixture of which no record is left.
  """
  if config.weights:
    return MixtureOrder(parts(source), config.weights, seed)
  if config.order == "uniform":
    return UniformOrder(source.num_records, seed)
  if config.order == "stream":
    if (shard_n := shards(source)) is None:
      raise ValueError("data.order stream reads the shards of packed sets in sequence, and these records have none: pack them, or take data.order uniform")
    return StreamOrder(shard_n, batch_size, lanes=config.stream_lanes, window=config.stream_window, seed=seed)
  if config.order == "triplets":
    if batch_size % 3:
      raise ValueError(f"a batch of {batch_size} would split a triplet: with data.order triplets it must be a multiple of 3")
    triplet_t3, mined_from = _mined(config, source)
    return TripletOrder(triplet_t3, seed, mined_from)
  identities, images = config.identities_per_batch, config.images_per_identity
  extra = batch_size - identities * images
  if extra < 0:
    raise ValueError(
      f"data.identities_per_batch {identities} × data.images_per_identity {images} is more than the batch of {batch_size}"
    )
  return BalancedOrder(source.label_n, identities, images, extra, seed)


def _mined(config: DataConfig, source: Source) -> tuple[np.ndarray, str]:
  """[T, 3] records of the source, and the digest of the embeddings from which they were mined."""
  embeddings = read_embeddings(config.embeddings)
  row_of = {name: row for row, name in enumerate(embeddings.names)}
  names = source.names()
  missing = [name for name in names if name not in row_of]
  if missing:
    raise ValueError(
      f"{config.embeddings} has no embedding of {len(missing):,} of {len(names):,} records, such as {missing[0]!r}: embed the"
      " training records"
    )
  embedding_nd = embeddings.embedding_nd[[row_of[name] for name in names]]
  triplet_t3 = mine(embedding_nd, source.label_n, mining=config.mining, margin=config.mining_margin)
  if not len(triplet_t3):
    raise ValueError(f"{config.mining} mining finds no triplet in {config.embeddings} (data.mining_margin {config.mining_margin})")
  return triplet_t3, digest([*names, embedding_nd])
