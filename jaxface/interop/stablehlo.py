"""Exports a network with its preprocessing to StableHLO, by `jax.export`: a file that JAX alone runs.

The file is what `jax.export.Exported.serialize` writes, with the weights inside. `FILE.json` beside it holds the metadata
(docs/export.md) and the file's SHA-256. It takes `image` [batch, height, width, 3] uint8, RGB in 0..255, of any batch size, and
of one height and width: those of the alignment template, or of the network's input if that is larger.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxface.evaluation.config import MIRRORS
from jaxface.formats.atomic import atomic_file, write_json
from jaxface.geometry.templates import TEMPLATES
from jaxface.interop.traced import (
  CHANNELS,
  ParityError,
  expected_embeddings,
  in_float32,
  threshold_that_holds,
  traced_network,
  unit,
)
from jaxface.interop.weights import metadata
from jaxface.layers.formulation import formulation
from jaxface.losses.ranges import check_name
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import SavedModel

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
TOLERANCE = 1e-4


def export_stablehlo(
  saved: SavedModel,
  path: Path | str,
  *,
  normalize: bool = False,
  mirror: str = "none",
  platforms: tuple[str, ...] = ("cpu", "cuda", "tpu"),
) -> float:
  """Writes a network for `jax.export.deserialize`, after checking the file on this machine.

  Args:
    saved: the network; exported in float32 for any training dtype.
    path: path of the file; its metadata are written to the same path with `.json` appended.
    normalize: divide each embedding by its length.
    mirror: use of the mirror image: "none", "sum" or "concat", as in `jaxface embed --mirror`.
    platforms: where the file runs, of `PLATFORMS`.
  Returns:
    The largest absolute difference of a normalised embedding between the file and the model, at two batch sizes.
  Raises:
    ParityError: it is more than 1e-4; nothing is written.
    ValueError: an unknown mirror or platform.
  """
  check_name("mirror", mirror, MIRRORS)
  for platform in platforms:
    check_name("platform", platform, PLATFORMS)
  path, single = Path(path), in_float32(saved)
  height, width = image_size(single.preprocess)
  image = jax.ShapeDtypeStruct((*export.symbolic_shape("batch"), height, width, CHANNELS), jnp.uint8)
  network = traced_network(single, normalize, mirror)
  # The operations of XLA only: custom calls of one machine's libraries would not run elsewhere.
  with formulation("xla"), _without_paths():
    exported = export.export(jax.jit(lambda image_bhwc: network(image_bhwc)), platforms=platforms)(image)
  content = bytes(exported.serialize())
  difference = _difference(single, content, (height, width), mirror)
  if not difference <= TOLERANCE:
    raise ParityError(f"{path}: not written: embeddings differ from JAX's by {difference:.2g}, more than {TOLERANCE}")
  said = {
    **metadata(single, threshold_that_holds(saved, mirror)),
    "jaxface.input": f"image: uint8 [batch, {height}, {width}, {CHANNELS}], RGB in 0..255, aligned",
    "jaxface.normalized": json.dumps(normalize),
    "jaxface.mirror": mirror,
    "jaxface.platforms": json.dumps(platforms),
    "jaxface.sha256": hashlib.sha256(content).hexdigest(),
  }
  # Metadata first: a file without them never appears, and the digest tells whether the two belong together.
  write_json(f"{path}.json", said)
  with atomic_file(path) as file:
    file.write(content)
  return difference


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
  """No paths of this machine in what is traced: the same model gives the same bytes elsewhere."""
  names = {"jax_hlo_source_file_canonicalization_regex": ".*", "jax_traceback_in_locations_limit": 0}
  before = {name: getattr(jax.config, name) for name in names}
  try:
    for name, value in names.items():
      jax.config.update(name, value)
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)


def image_size(preprocess: Preprocess) -> tuple[int, int]:
  """Height and width of the images that an exported file takes: the template's if the network takes its middle."""
  template = TEMPLATES.get(preprocess.template)
  if template is None or preprocess.fit != "crop":
    return preprocess.size
  larger = all(side >= own for side, own in zip(template.size, preprocess.size, strict=True))
  return template.size if larger else preprocess.size


def _difference(saved: SavedModel, content: bytes, size: tuple[int, int], mirror: str) -> float:
  """Largest difference of normalised embeddings between the file's bytes and the model."""
  again = export.deserialize(bytearray(content))
  image_bhwc = np.random.default_rng(0).integers(0, 256, (3, *size, CHANNELS)).astype(np.uint8)
  expected_bd = expected_embeddings(saved, mirror)(image_bhwc)
  run = jax.jit(again.call)
  return max(
    float(np.abs(unit(np.asarray(run(image_bhwc[:batch]))) - expected_bd[:batch]).max()) for batch in (1, 3)
  )


__all__ = ["PLATFORMS", "export_stablehlo", "image_size"]
