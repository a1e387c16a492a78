"""The classifier of small images: its loss by hand, sources and split, softmax regression against scikit-learn, training and its files."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxface.data import ArraySource
from jaxface.losses import LogitLoss
from jaxface.losses.contract import check_term
from jaxface.models.imageclassifier import imageclassifier
from jaxface.models.saved import load_model
from jaxface.pipeline import ClassifierExperiment, read_classes, split_classes, train
from jaxface.pipeline.classifier import classify_images, make_classifier_run
from jaxface.training import Workdir, train_run

pytest.importorskip("sklearn", reason="scikit-learn, whose digits are used, is not installed")


def test_the_loss_is_minus_the_log_of_the_softmax():
  logits = np.array([[2.0, 0, -1], [1000, 0, 0], [np.nan] * 3, [0, 5, 0]])
  label, weight = np.array([0, 1, 0, 1]), np.array([1.0, 0.5, 0, 1])
  term = LogitLoss()
  check_term(term)

  def run(logits):
    return term({}, {"embedding_bd": logits, "label_b": jnp.asarray(label), "weight_b": jnp.asarray(weight)}, state={}, step=0, key=None)

  loss_b, _, metrics = run(jnp.asarray(logits))
  own = [row[at] - np.log(np.exp(row - row.max()).sum()) - row.max() for row, at in zip(logits, label)]
  np.testing.assert_allclose(loss_b, [-own[0], -own[1] / 2, 0, -own[3]], rtol=1e-5)
  assert float(metrics["accuracy"].value()) == pytest.approx(2 / 2.5)
  # Its gradient is softmax less one-hot.
  slope = np.asarray(jax.grad(lambda logits: run(logits)[0].sum())(jnp.asarray(logits)))
  np.testing.assert_allclose(slope[0], np.exp(logits[0]) / np.exp(logits[0]).sum() - [1, 0, 0], atol=1e-6)
  assert not slope[2].any()
  with pytest.raises(ValueError, match="3 outputs and the training set 4 classes"):
    term.init(jax.random.key(0), 3, 4)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_a_split_takes_its_share_of_each_class(counts, test, seed):
  label_n = np.repeat(np.arange(len(counts)), counts)
  image_nhwc = np.arange(len(label_n), dtype=np.uint8)[:, None, None, None]
  source = ArraySource(image_nhwc, label_n, [f"c{label}" for label in range(len(counts))])
  train_set, test_set = split_classes(source, test=test, seed=seed)
  both = np.concatenate([train_set.image_nhwc, test_set.image_nhwc]).reshape(-1)
  assert sorted(both.tolist()) == list(range(len(label_n)))
  np.testing.assert_array_equal(label_n[both], np.concatenate([train_set.label_n, test_set.label_n]))
  held = np.bincount(test_set.label_n, minlength=len(counts))
  assert held.tolist() == [min(max(round(test * count), 1), count - 1) for count in counts]


def test_mistakes_are_named(tmp_path):
  image = np.zeros((2, 4, 4, 3), np.uint8)
  with pytest.raises(ValueError, match="type float64: needs"):
    ArraySource(image.astype(float), np.array([0, 1]), "ab")
  with pytest.raises(ValueError, match=r"labels have shape \(1,\)"):
    ArraySource(image, np.array([0]), "ab")
  with pytest.raises(ValueError, match="labels are 0 to 2: there are 2 classes"):
    ArraySource(image, np.array([0, 2]), "ab")
  with pytest.raises(ValueError, match="class 'b' has 1 images"):
    split_classes(ArraySource(np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 0, 1]), "ab"), test=0.5, seed=0)
  with pytest.raises(ValueError, match="the data 'folder', and no other"):
    ClassifierExperiment(data="folder")
  with pytest.raises(ValueError, match="data"):
    ClassifierExperiment(data="cifar")
  for settings, text in (({"test": 1.0}, "test"), ({"steps": 0}, "steps"), ({"people": 1}, "people")):
    with pytest.raises(ValueError, match=text):
      ClassifierExperiment(**settings)
  with pytest.raises(ValueError, match="one pixel after the last maximum"):
    imageclassifier(size=4, widths=(2, 2, 2))
  with pytest.raises(FileNotFoundError, match="nothing"):
    read_classes("folder", folder=str(tmp_path / "nothing"))


def test_the_digits_are_those_of_scikit_learn():
  from sklearn.datasets import load_digits

  source, digits = read_classes("digits"), load_digits()
  assert source.image_nhwc.shape == (1797, 8, 8, 3)
  np.testing.assert_allclose(source.image_nhwc[..., 1] / 255 * 16, digits.images, atol=0.04)
  np.testing.assert_array_equal(source.label_n, digits.target)


def test_softmax_regression_gives_the_probabilities_of_scikit_learn(tmp_path):
  from sklearn.linear_model import LogisticRegression

  train_set, test_set = split_classes(read_classes("digits"), test=0.2, seed=0)
  # Optimised to the end on few images with the penalty of neither: both find the direction that separates them best.
  some = train_set.subset(np.arange(train_set.num_records) < 300)
  config = ClassifierExperiment(widths=(), features=0, steps=300, batch_size=100, learning_rate=0.03, weight_decay=0.0)
  trained = train_run(make_classifier_run(some, config), Workdir(tmp_path))
  network = imageclassifier(10, 8, "grey", (), 0)
  grey_nk = np.asarray(network.convention.apply(some.image_nhwc)).reshape(300, -1)
  solver = LogisticRegression(C=1.0, max_iter=2000).fit(grey_nk, some.label_n)
  test_nk = np.asarray(network.convention.apply(test_set.image_nhwc)).reshape(test_set.num_records, -1)
  layer = trained.variables["params"]["softmax"]
  ours, theirs = (test_nk @ layer["kernel"] + layer["bias"]).argmax(1), solver.predict(test_nk)
  assert (ours == theirs).mean() > 0.93
  assert (ours == test_set.label_n).mean() > (theirs == test_set.label_n).mean() - 0.03


def test_an_experiment_of_a_folder_leaves_model_table_and_picture(tmp_path):
  draw = np.random.default_rng(0)
  for name, level in (("bright", 200), ("dark", 60), ("left", 0)):
    for number in range(8):
      image = np.full((10, 10, 3), level, np.uint8) + draw.integers(0, 20, (10, 10, 3), dtype=np.uint8)
      if name == "left":
        image[:, :5] = 220
      (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
      Image.fromarray(image).save(tmp_path / "images" / name / f"{number}.png")
  (tmp_path / "mine.py").write_text('"""Mine."""\nfrom jaxface.pipeline import ClassifierExperiment\nEXPERIMENT = ClassifierExperiment(data="folder", folder="x")\n')
  given = {
    "folder": str(tmp_path / "images"), "size": "8", "test": "0.5", "steps": "60", "batch_size": "12", "widths": "4", "features": "0", "dropout": "0",
    "checkpoint_every": "30", "learning_rate": "0.02",
  }
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert result.accuracy == 1.0 and result.confusion.label.tolist() == ["bright", "dark", "left"]
  assert str(result).endswith("100.0 % of 12 test images, 3 classes")
  figures = json.loads((tmp_path / "run/figures.json").read_text())
  assert figures == {"accuracy": 1.0, "images": 12, "classes": ["bright", "dark", "left"], "samples": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}
  assert (tmp_path / "run/confusion.txt").read_text() == result.confusion.table() + "\n"
  assert "100.0 % of 12 test images" in (tmp_path / "run/confusion.svg").read_text()
  saved = load_model(tmp_path / "run/model")
  assert saved.meta["classes"] == ["bright", "dark", "left"] and saved.meta["images"] == 12
  _, test_set = split_classes(read_classes("folder", folder=given["folder"], size=8), test=0.5, seed=0)
  np.testing.assert_array_equal(classify_images(saved, test_set), test_set.label_n)
  # A classifier that always says the same is right for one class.
  layer = {"kernel": np.zeros_like(saved.variables["params"]["softmax"]["kernel"]), "bias": np.float32([0, 1, 0])}
  still = replace(saved, variables={**saved.variables, "params": {**saved.variables["params"], "softmax": layer}})
  assert classify_images(still, test_set).tolist() == [1] * 12
  # A finished run has nothing left to do; another seed is another run.
  assert train(tmp_path / "mine.py", tmp_path / "run", overrides=given).accuracy == 1.0
  with pytest.raises(ValueError, match="seed"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "seed": "1"})


@pytest.mark.sweep  # the renderer takes most of a minute to compile
def test_people_are_as_many_as_asked_for():
  source = read_classes("people", people=2, images=3, size=32)
  assert source.image_nhwc.shape == (6, 32, 32, 3) and source.label_n.tolist() == [0, 0, 0, 1, 1, 1]
  assert source.identity_names() == ["person0", "person1"]
  assert np.abs(source.image_nhwc[0].astype(int) - source.image_nhwc[3]).mean() > 3
