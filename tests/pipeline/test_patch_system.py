"""DeepID's system on embeddings of planted people: every score, every number of patches, and the joined training of the folds."""

import numpy as np
import pytest

from jaxface.evaluation.protocols.lfw import read_view_1
from jaxface.formats.embeddings import Embeddings
from jaxface.pipeline.patch_system import measure_system
from jaxface.verifiers import evaluate_on_lfw

PATCHES = ["a", "b", "c"]
EACH = 8


def planted(names, person, seed=0, basis=0):
  """Embeddings of three patches and their mirror images; the patch c shows the person best, and directions between people are few."""
  random = np.random.default_rng(seed)
  label_n = np.unique(person, return_inverse=True)[1]
  mixing = np.random.default_rng(basis).normal(size=(2, 3, 4, EACH))
  hidden = random.normal(size=(label_n.max() + 1, 4))[label_n]
  signal = np.einsum("nk,hpkd->nhpd", hidden, mixing)
  row = signal + np.array([4.0, 3.0, 2.0])[:, None] * random.normal(size=signal.shape)
  return Embeddings(row.reshape(len(names), -1).astype(np.float32), list(names), label_n.astype(np.int64), {"mirror": "concat"})


@pytest.fixture
def lists(face_data):
  return face_data / "protocols"


@pytest.mark.real_data
def test_joint_bayesian_beats_the_cosine_on_view_1_with_planted_people(lists, tmp_path):
  from jaxface.formats.pairs import read_people

  [people] = read_people(lists / "peopleDevTrain.txt", folds=False)
  view_1 = read_view_1(lists)
  names = dict.fromkeys([f"{name}/{name}_{image:04d}" for name, images in people.items() for image in range(1, images + 1)] + list(view_1.images))
  lfw = planted(list(names), [name.split("/")[0] for name in names], seed=1)
  training = planted([f"t{i}" for i in range(1200)], np.arange(1200) // 4, seed=2)
  found = measure_system(
    training, lfw, PATCHES, lists, numbers=(1, 60), components=10, view=1, scores=("joint-bayesian", "joint-bayesian-folds", "joint-bayesian-both"),
    state=tmp_path / "selection.json", say=lambda line: None,
  )
  assert set(found.order) == set(PATCHES)
  assert {name.rsplit(", ", 1)[1] for name in found.figures} == {"1 patch", "3 patches"}
  figure = {name: one["accuracy"] for name, one in found.figures.items()}
  for score in ("joint-bayesian", "joint-bayesian-folds", "joint-bayesian-both"):
    assert figure[f"{score}, 3 patches"] > max(figure["cosine, 3 patches"], figure[f"{score}, 1 patch"])
  assert "cosine, 3 patches" in found.table()
  with pytest.raises(ValueError, match="outside embeddings have 5 numbers, those of LFW 48"):
    evaluate_on_lfw("joint-bayesian", lfw, lists, view=1, outside=Embeddings(training.embedding_nd[:, :5], training.names, training.label_n))
  with pytest.raises(ValueError, match="outside embeddings need labels"):
    evaluate_on_lfw("joint-bayesian", lfw, lists, view=1, outside=Embeddings(training.embedding_nd, training.names))
