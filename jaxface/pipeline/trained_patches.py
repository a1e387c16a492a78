"""An ensemble of patches, trained, with the embeddings of its training images and of LFW: what the systems of patches begin with."""

from dataclasses import dataclass
from pathlib import Path

from jaxface.formats.embeddings import Embeddings, read_embeddings
from jaxface.inference.faces import embed_faces
from jaxface.inference.model import Model, load
from jaxface.pipeline.patches import ensemble_of
from jaxface.pipeline.run import expand_paths, run_experiment
from jaxface.pipeline.say import say
from jaxface.training.config import load_experiment


@dataclass(frozen=True)
class TrainedPatches:
  """Result of `train_patches`.

  Attributes:
    name: of the experiment.
    model: the ensemble.
    patches: names of its networks' patches.
    training: embeddings of its training images, image and mirror image side by side, with labels.
    lfw: the same of all images of LFW.
    lists: folder of LFW's lists.
    out: folder for what is measured, WORKDIR/system.
  """

  name: str
  model: Model
  patches: tuple[str, ...]
  training: Embeddings
  lfw: Embeddings
  lists: Path
  out: Path


def train_patches(experiment: str, workdir: str | Path, *, small: bool = False, command: str = "", progress: bool = False) -> TrainedPatches:
  """Trains an ensemble, or resumes it, or takes a finished one; embeds its training images and LFW unless `workdir/system` has both.

  Args:
    experiment: name or path of an experiment of an ensemble, with a folder of training images and LFW as its first evaluation set.
    workdir: folder of the run.
    small: the small form of the experiment.
    command: command line that is kept with the run.
    progress: draw progress bars.
  Raises:
    ValueError: no such experiment, or one without such images; another network.
  """
  plan = expand_paths(load_experiment(experiment, small=small)[0])
  if not plan.evaluation or not plan.evaluation[0].images or not plan.evaluation[0].pairs:
    raise ValueError(f"{plan.name}: the system is measured on LFW, whose images and pairs its first evaluation set must name")
  folder = Path(workdir)
  if not (folder / "model").is_dir():
    run_experiment(plan, folder, command=command)
  model = load(folder)
  patches = tuple(patch.name for patch in ensemble_of(model.saved, folder).patches)
  out, known, tested = folder / "system", plan.data.images or plan.data.records, plan.evaluation[0]
  training = embed_once(model, known, out / "train.npz", template=plan.data.template, progress=progress)
  lfw = embed_once(model, tested.images, out / "lfw.npz", template=tested.template, progress=progress)
  return TrainedPatches(plan.name, model, patches, training, lfw, Path(tested.pairs).parent, out)


def embed_once(model: Model, images: str | Path, file: Path, *, template: str, progress: bool) -> Embeddings:
  """Embeddings of images and mirror images side by side, raw; read from `file` if it has those of this model."""
  if file.is_file():
    found = read_embeddings(file)
    if found.meta.get("model_digest") == model.saved.digest and found.meta.get("mirror") == "concat":
      return found
  return embed_faces(model, images, file, template=template, mirror="concat", raw=True, progress=progress, say=say)


__all__ = ["TrainedPatches", "embed_once", "train_patches"]
