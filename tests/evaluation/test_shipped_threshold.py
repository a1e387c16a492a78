"""Figures at the threshold of a model's folder, beside those of the folds."""

from dataclasses import replace

import numpy as np
import pytest

from jaxface.evaluation import evaluate, make_toy, measure_threshold
from jaxface.formats import Embeddings, read_embeddings, read_pairs, write_embeddings
from jaxface.formats.threshold import THRESHOLD_FILE, write_threshold_file

META = {"model_digest": "0123456789abcdef", "mirror": "sum", "raw": False}


@pytest.fixture
def toy(tmp_path):
  lists = make_toy("pairs", tmp_path / "toy")
  given = replace(read_embeddings(tmp_path / "toy" / "embeddings.npz"), meta=META)
  (file,) = lists.iterdir()
  threshold, _ = measure_threshold(given, file, 0.1)
  (tmp_path / "model").mkdir()
  write_threshold_file(tmp_path / "model" / THRESHOLD_FILE, threshold)
  return given, file, threshold, tmp_path


def test_accuracy_and_rates_at_the_threshold_are_added(toy):
  given, file, threshold, folder = toy
  found = evaluate(given, file, threshold_from=folder / "model")
  shipped, pairs = found.figures["shipped_threshold"], read_pairs(file)
  correct_p = (found.score_p >= threshold.value) == pairs.same
  folds = [correct_p[pairs.fold == fold].mean() for fold in np.unique(pairs.fold)]
  assert shipped["accuracy"] == pytest.approx(np.mean(folds))
  assert (shipped["far"], shipped["tar"]) == pytest.approx((threshold.far, threshold.tar))
  assert shipped["accuracy_interval"][0] <= shipped["accuracy"] <= shipped["accuracy_interval"][1]
  plain = evaluate(given, file)
  assert {name: value for name, value in found.figures.items() if name != "shipped_threshold"} == plain.figures
  assert "at the model's threshold" in str(found) and "at the model's threshold" not in str(plain)


@pytest.mark.parametrize("meta", [{}, {**META, "mirror": "none"}, {**META, "model_digest": "f" * 16}])
def test_embeddings_of_another_model_or_mirror_setting_are_refused(toy, meta):
  given, file, _, folder = toy
  with pytest.raises(ValueError, match="holds for embeddings of the model"):
    evaluate(replace(given, meta=meta), file, threshold_from=folder / "model")


def test_means_over_crops_are_refused(toy):
  given, file, _, folder = toy
  crops = replace(given, meta={**META, "crops": "ten"})
  with pytest.raises(ValueError, match="means over ten crops"):
    evaluate(crops, file, threshold_from=folder / "model")
  with pytest.raises(ValueError, match="means over ten crops"):
    measure_threshold(crops, file, 0.1)


def test_a_folder_without_a_threshold_says_how_to_measure_one(toy):
  given, file, _, folder = toy
  with pytest.raises(FileNotFoundError, match="jaxface threshold --write"):
    evaluate(given, file, threshold_from=folder / "toy")


def test_a_list_of_one_kind_and_another_protocol_are_refused(toy, tmp_path):
  given, file, _, folder = toy
  pairs = read_pairs(file)
  lines = [f"{left}\t{right}\t1" for left, right, same in zip(pairs.left, pairs.right, pairs.same) if same]
  (tmp_path / "mated.tsv").write_text("\n".join(lines))
  with pytest.raises(ValueError, match="one kind only"):
    evaluate(given, tmp_path / "mated.tsv", threshold_from=folder / "model")
  lists = make_toy("closed-set", tmp_path / "closed")
  other = read_embeddings(tmp_path / "closed" / "embeddings.npz")
  write_embeddings(tmp_path / "o.npz", Embeddings(other.embedding_nd, other.names, None, META))
  with pytest.raises(ValueError, match="pair lists only"):
    evaluate(tmp_path / "o.npz", lists, protocol="closed-set", threshold_from=folder / "model")
