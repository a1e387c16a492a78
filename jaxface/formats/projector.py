"""Embeddings for TensorBoard's projector: vectors and names as tables, a sprite image, and the projector's configuration.

`tensorboard --logdir FOLDER` shows them in the tab Projector (PCA, t-SNE, UMAP).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import atomic_directory
from jaxface.formats.embeddings import Embeddings

MOST = 10_000  # points; the projector runs in the browser
SPRITE = 8192  # largest width and height of a sprite image in pixels, a limit of WebGL textures
PICTURE = 48  # width and height of each picture in the sprite, in pixels


def write_projector(
  folder: str | Path, embeddings: Embeddings, image_of: Callable[[int], np.ndarray | None] | None = None, *, most: int = MOST,
) -> int:
  """Writes a folder for TensorBoard's projector, whole or not at all.

  Args:
    folder: to make; must not exist, or be an empty folder.
    embeddings: what to show.
    image_of: returns the image [H, W, 3] uint8 of a row, or None for a grey one; None makes no sprite image.
    most: largest number of points; of more, as many are taken at equal distances.
  Returns:
    The number of points.
  Raises:
    ValueError: no embeddings, one that is not finite, or more points than fit a sprite image.
    FileExistsError: the folder exists and has files.
  """
  total = len(embeddings.names)
  if not total or most < 1:
    raise ValueError(f"{total} embeddings, at most {most} points: the projector needs at least one")
  bad = np.flatnonzero(~np.isfinite(embeddings.embedding_nd).all(1))
  if bad.size:
    raise ValueError(f"the embedding of {embeddings.names[bad[0]]!r} is not finite")
  row_k = np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)
  across = int(np.ceil(np.sqrt(len(row_k))))
  if image_of is not None and across * PICTURE > SPRITE:
    raise ValueError(f"{len(row_k):,} pictures do not fit a sprite image: at most {(SPRITE // PICTURE) ** 2:,}")
  with atomic_directory(folder) as out:
    vectors = "\n".join("\t".join(f"{value:.6g}" for value in embeddings.embedding_nd[row].tolist()) for row in row_k)
    (out / "vectors.tsv").write_text(vectors + "\n", encoding="utf-8")
    lines = ["name\tidentity"]
    for row in row_k.tolist():
      name = embeddings.names[row]
      identity = name.rsplit("/", 1)[0] if "/" in name else "" if embeddings.label_n is None else str(embeddings.label_n[row])
      lines.append("\t".join(" ".join(part.split()) or "-" for part in (name, identity)))
    (out / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = ['embeddings {', '  tensor_name: "jaxface"', '  tensor_path: "vectors.tsv"', '  metadata_path: "metadata.tsv"']
    if image_of is not None:
      _sprite(row_k, across, image_of).save(out / "sprite.png")
      config.append(f'  sprite {{ image_path: "sprite.png" single_image_dim: {PICTURE} single_image_dim: {PICTURE} }}')
    (out / "projector_config.pbtxt").write_text("\n".join([*config, "}"]) + "\n", encoding="utf-8")
  return len(row_k)


def _sprite(row_k: np.ndarray, across: int, image_of: Callable[[int], np.ndarray | None]):
  """One image with a picture for each row, in reading order; the projector expects a square."""
  from PIL import Image

  sprite = Image.new("RGB", (across * PICTURE, across * PICTURE), (128, 128, 128))
  for at, row in enumerate(row_k.tolist()):
    image_hwc = image_of(row)
    if image_hwc is not None:
      small = Image.fromarray(image_hwc).resize((PICTURE, PICTURE), Image.Resampling.BILINEAR)
      sprite.paste(small, (at % across * PICTURE, at // across * PICTURE))
  return sprite


__all__ = ["write_projector"]
