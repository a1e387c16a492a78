"""DeepFace's figures from trained networks and images, or from embeddings: what `jaxface papers deepface --run` calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.inference.faces import embed_faces
from jaxface.inference.model import Model, load
from jaxface.pipeline.papers.deepface import deepface_on_lfw
from jaxface.pipeline.papers.result_file import Measured, about_data, about_network
from jaxface.pipeline.say import say
from jaxface.training.custom import expand_path

EMBEDDINGS = (".npz", ".parquet")


def run_deepface(
  lfw: Sequence[str | Path], train: Sequence[str | Path], lists: str | Path, out: str | Path, *, models: Sequence[str | Path] = (),
  alignments: Mapping[str, str | Path] | None = None, mirror: str = "sum", tune: bool = True, command: str = "", progress: bool = False,
) -> Measured:
  """Embeds where images are given, computes DeepFace's figures, and writes the result file.

  Args:
    lfw: folder or records of all images of LFW, or raw embeddings of each network.
    train: the same of the training set.
    lists: folder of LFW's lists.
    out: result file to write, .json; its name is that of the result.
    models: trained networks that end with a ReLU, the first is the single one; with embeddings they only name the data and the size.
    alignments: images of LFW in other alignments by name, a folder, records, or raw embeddings of the first network; images may be missing.
    mirror: add the embedding of the mirror image, "sum", or not, "none"; for images.
    tune, progress: see `deepface_on_lfw`.
    command: command line that the result shows.
  Raises:
    ValueError: images without networks, or of more than one kind; as `deepface_on_lfw`.
    FileNotFoundError: a file or folder is missing.
  """
  folder = expand_path(str(lists), "lists")
  given = {"lfw": [expand_path(str(path), "lfw") for path in lfw], "train": [expand_path(str(path), "train") for path in train]}
  others = {name: expand_path(str(path), name) for name, path in (alignments or {}).items()}
  loaded = [load(one) for one in models]
  images = [path for path in (*given["lfw"], *given["train"], *others.values()) if Path(path).suffix not in EMBEDDINGS]
  if images and not loaded:
    raise ValueError(f"{images[0]}: images need trained networks to embed them (--model); embeddings are .npz or .parquet")

  def embedded(model: Model | None, path: str) -> Any:
    if Path(path).suffix in EMBEDDINGS:
      return path
    assert model is not None
    return embed_faces(model, path, raw=True, mirror=mirror, progress=progress, say=say)

  ready: dict[str, list[Any]] = {}
  for name, paths in given.items():
    if len(loaded) > 1 and len(paths) == 1:
      paths = paths * len(loaded)
    networks: Sequence[Model | None] = loaded or [None] * len(paths)
    if len(paths) != len(networks):
      raise ValueError(f"{len(paths)} of {name} and {len(networks)} networks: give one for each, or one set of images for all")
    ready[name] = [embedded(model, path) for model, path in zip(networks, paths)]
  found = deepface_on_lfw(
    ready["lfw"], ready["train"], folder, tune=tune, others={name: embedded(loaded[0] if loaded else None, path) for name, path in others.items()},
    name=Path(out).stem, command=command, data=about_data(loaded[0]) if loaded else {}, network=about_network(loaded[0]) if loaded else {},
    progress=progress, say=say,
  )
  found.write(out)
  return found


__all__ = ["run_deepface"]
