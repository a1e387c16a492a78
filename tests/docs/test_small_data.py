"""docs/check_small_data.py: who a verifier and its cohort are fitted on, and what the rows are chosen by."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats import Embeddings, write_embeddings
from jaxface.formats.pairs import Pairs

DOCS = Path(__file__).parents[2] / "docs"
SEVERAL, SINGLE = 30, 40  # people with three images, and with one


@pytest.fixture
def script(monkeypatch):
  monkeypatch.syspath_prepend(str(DOCS))
  script = importlib.import_module("check_small_data")
  monkeypatch.setattr(script, "COHORT", 25)
  return script


@pytest.fixture
def measured(script, tmp_path):
  """With the embeddings of a training set in the place of those that a network would make."""
  rng = np.random.default_rng(0)
  label_n = np.concatenate([np.repeat(np.arange(SEVERAL), 3), np.arange(SEVERAL, SEVERAL + SINGLE)])
  row_nd = (rng.normal(size=(SEVERAL + SINGLE, 6))[label_n] + 0.5 * rng.normal(size=(len(label_n), 6))).astype(np.float32)
  made = script.Measured(tmp_path, tmp_path / "kept")
  write_embeddings(tmp_path / "kept" / "net_train_sum_one.npz", Embeddings(row_nd, [f"{row}" for row in range(len(row_nd))], label_n, {}))
  return made, row_nd


@pytest.mark.parametrize("people, images", [("trained", 3 * SEVERAL), ("all", 3 * SEVERAL + SINGLE)])
def test_a_verifier_is_fitted_on_the_training_set(script, measured, people, images):
  made, _ = measured
  fit = made.verifier(Path("runs/net"), script.Recipe(kind="joint-bayesian", people=people))
  assert fit.kind == "joint-bayesian" and fit.made_from["images"] == images
  assert made.verifier(Path("runs/net"), script.REFERENCE) is None


def test_the_cohort_is_of_people_with_one_image(script, measured):
  made, row_nd = measured
  fit = made.verifier(Path("runs/net"), script.Recipe(norm="s"))
  assert fit.cohort_cd.shape == (25, 6) and fit.linear.weight_k[0] > 0
  single_md = row_nd[3 * SEVERAL :].astype(np.float64)
  assert all((np.abs(single_md - row_d).max(1) < 1e-6).any() for row_d in fit.cohort_cd)


def test_the_difference_of_a_row_is_to_the_reference(script):
  rng = np.random.default_rng(1)
  names = [f"p{row // 2}/{row}" for row in range(80)]
  pairs = Pairs(names[::2] * 2, [*names[1::2], *names[3::2], names[1]], np.repeat([True, False], 40), np.tile([0, 1], 40))
  first, second = (verify_pairs(np.repeat(rng.normal(size=(40, 4)), 2, 0) + noise * rng.normal(size=(80, 4)), names, pairs) for noise in (2.0, 0.5))
  cells = [cell.strip() for cell in script.line("row", second, first).strip("|").split("|")]
  assert cells[0] == "row" and cells[3] == f"{second.auc:.4f}" and cells[2].startswith(f"{100 * (second.accuracy - first.accuracy):+.2f}")
  assert script.line("row", first, None).count("–") == 2
