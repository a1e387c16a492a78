"""DeepFace's representation: by hand, its laws, its file, and from the command line."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxface.commands.main import main
from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData

TRAIN = np.array([[1.0, 0.02, 0.0], [4.0, 0.01, 0.5]], np.float32)


def test_by_hand():
  fit = LargestFeatures.fit(TRAIN)
  np.testing.assert_array_equal(fit.largest_d, np.float32([4, 0.02, 0.5]))
  # (2, 0.05, 0.5) over (4, 0.05, 0.5), the second divisor being ε, is (0.5, 1, 1), of length 1.5.
  np.testing.assert_allclose(fit.apply(np.float32([[2, 0.05, 0.5], [0, 0, 0]])), [[1 / 3, 2 / 3, 2 / 3], [0, 0, 0]], rtol=1e-6)


@given(
  arrays(np.float32, (6, 4), elements=st.floats(0.25, 8, width=32)),
  arrays(np.float32, 4, elements=st.sampled_from(np.float32([0.5, 1, 2, 8]))),
)
def test_a_feature_in_other_units_changes_nothing_above_epsilon(embedding, units):
  plain = LargestFeatures.fit(embedding).apply(embedding)
  scaled = LargestFeatures.fit(embedding * units).apply(embedding * units)
  np.testing.assert_allclose(plain, scaled, rtol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, rtol=1e-5)


def test_a_saved_fit_is_the_same(tmp_path):
  fit = LargestFeatures.fit(TRAIN, epsilon=0.1)
  fit.save(tmp_path / "fit.json")
  again = LargestFeatures.load(tmp_path / "fit.json")
  np.testing.assert_array_equal(again.largest_d, fit.largest_d)
  assert again.epsilon == 0.1
  for text in ("[]", '{"epsilon": 0.05}', '{"epsilon": 0, "largest": [1]}', '{"epsilon": 1, "largest": [[1]]}', "{"):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DamagedData, match=r"bad\.json"):
      LargestFeatures.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: LargestFeatures.fit(np.zeros((0, 3), np.float32)), "at least one"),
    (lambda: LargestFeatures.fit(-TRAIN), r"feature 0 of row 0 is -1\.0.*ReLU"),
    (lambda: LargestFeatures.fit(TRAIN * np.float32([1, 1, np.nan])), "feature 2 of row 0 is nan"),
    (lambda: LargestFeatures.fit(TRAIN[0]), r"\[N, D\]"),
    (lambda: LargestFeatures.fit(TRAIN, epsilon=0.0), "positive"),
    (lambda: LargestFeatures.fit(TRAIN).apply(TRAIN[:, :2]), "2 features, but the fit has 3"),
    (lambda: LargestFeatures.fit(TRAIN).apply(TRAIN + np.float32(np.inf)), "feature 0 of row 0 is inf"),
  ],
)
def test_what_is_wrong_is_named(call, words):
  with pytest.raises(ValueError, match=words):
    call()


@pytest.fixture
def files(tmp_path):
  """Embeddings of a training and of a test set in which one feature drowns the others, and pairs of the second."""
  random = np.random.default_rng(0)
  identity = np.arange(40) % 10
  center = random.uniform(0, 1, (10, 8))
  features = center[identity] + random.uniform(0, 0.2, (40, 8))
  features[:, 0] = 300 * random.uniform(0, 1, 40)
  names = [f"P{label}/P{label}_{index:04d}" for index, label in enumerate(identity)]
  for name, part in (("train", slice(20)), ("test", slice(20, 40))):
    write_embeddings(
      tmp_path / f"{name}.npz", Embeddings(features[part].astype(np.float32), names[part], identity[part], {"raw": True})
    )
  lines = ["left\tright\tsame\tfold"]
  for index in range(10):
    lines += [f"{names[20 + index]}\t{names[30 + index]}\t1\t{index % 2}", f"{names[20 + index]}\t{names[30 + (index + 1) % 10]}\t0\t{index % 2}"]
  (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
  return tmp_path


def figures(folder, *arguments):
  base = ["evaluate", "--pairs", str(folder / "pairs.txt"), "--embeddings", str(folder / "test.npz")]
  assert main([*base, "--json", str(folder / "out.json"), *arguments]) == 0
  return json.loads((folder / "out.json").read_text())


def test_evaluate_fits_on_training_embeddings_and_keeps_the_fit(files):
  fit = files / "kept" / "fit.json"
  plain = figures(files)
  fitted = figures(files, "--normalise", str(files / "train.npz"), "--save-fit", str(fit))
  assert fitted["auc"] > plain["auc"] + 0.1
  assert figures(files, "--normalise", str(fit)) == fitted
  np.testing.assert_array_equal(LargestFeatures.load(fit).largest_d, read_embeddings(files / "train.npz").embedding_nd.max(0))


def test_lengths_that_are_lost_and_a_fit_of_nothing_are_refused(files, capsys):
  test = read_embeddings(files / "test.npz")
  write_embeddings(files / "unit.npz", Embeddings(test.embedding_nd, test.names, test.label_n, {"raw": False}))
  base = ["evaluate", "--pairs", str(files / "pairs.txt"), "--embeddings", str(files / "test.npz")]
  assert main([*base, "--normalise", str(files / "unit.npz")]) == 2
  assert "unit.npz" in (message := capsys.readouterr().err) and "--raw" in message
  with pytest.raises(SystemExit):
    main([*base, "--save-fit", "fit.json"])
  assert "--save-fit needs --normalise" in capsys.readouterr().err
