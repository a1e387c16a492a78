"""All pairs of embeddings scored by a verifier in blocks: against a list of all pairs, for any block and capacity, and the commands."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.commands.main import main
from jaxface.evaluation import compare, evaluate, evaluate_all_pairs, measure_threshold, roc, tar_at_far
from jaxface.evaluation.streaming.pair_intervals import all_pairs_intervals, scored_pairs_intervals
from jaxface.evaluation.streaming.scored_passes import ScoredPasses
from jaxface.formats import Embeddings, Pairs, write_embeddings, write_pairs
from jaxface.verifiers import Cosine, fit_verifier, read_verifier, write_verifier

FARS = [0.004, 0.03, 0.2]


def faces(seed=0, people=12, letter="p", size=5):
  """People with one to five images each."""
  random = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(people), np.r_[2, random.integers(1, 6, people - 1)])
  random.shuffle(label_n)
  row_nd = random.normal(size=(people, size))[label_n] + 0.7 * random.normal(size=(len(label_n), size))
  return Embeddings(
    row_nd.astype(np.float32),
    [f"{letter}{label}/{row}" for row, label in enumerate(label_n)],
    label_n,
    {"mirror": "sum"},
  )


def listed(given):
  """All pairs i < j as a list."""
  left_p, right_p = np.array(list(itertools.combinations(range(len(given.names)), 2))).T
  same_p = given.label_n[left_p] == given.label_n[right_p]
  names = given.names
  return Pairs(
    [names[row] for row in left_p],
    [names[row] for row in right_p],
    same_p,
    np.zeros(len(same_p), np.int64),
    "all.tsv",
    None,
  )


class Table:
  """Scores that are read from a matrix by the first number of an embedding; (i, j) and (j, i) may differ."""

  name, raw = "table", False

  def __init__(self, score_nn):
    self.score_nn = score_nn

  def check_meta(self, meta, where):
    pass

  def score(self, left_pd, right_pd):
    return self.score_nn[left_pd[:, 0].astype(int), right_pd[:, 0].astype(int)]

  def score_matrix(self, left_nd, right_md):
    return self.score_nn[np.ix_(left_nd[:, 0].astype(int), right_md[:, 0].astype(int))]


@settings(max_examples=6)
@given(
  seed=st.integers(0, 2**32 - 1),
  rows=st.sampled_from([7, 64]),
  capacity=st.sampled_from([0, 3, 10**6]),
  ties=st.booleans(),
)
def test_positions_points_and_counts_are_those_of_all_scores_in_memory(seed, rows, capacity, ties):
  random = np.random.default_rng(seed)
  label_n = np.r_[0, 0, random.integers(0, 5, 18)]
  score_nn = (
    random.integers(-2, 3, (20, 20)) * 0.5
    if ties
    else random.normal(size=(20, 20)) * 10.0 ** random.integers(-8, 8, (20, 20))
  )
  row_nd = np.arange(20.0)[:, None] + [[0.0, 0.0]]
  left_p, right_p = np.array(list(itertools.combinations(range(20), 2))).T
  score_p, same_p = score_nn[left_p, right_p], label_n[left_p] == label_n[right_p]
  passes = replace(ScoredPasses.of(row_nd, label_n, Table(score_nn), rows), capacity=capacity)
  assert passes.counts() == (same_p.sum(), (~same_p).sum())
  falling_q = -np.sort(-score_p[~same_p])
  positions = {0, 1, len(falling_q) // 2, len(falling_q) - 1}
  found = passes.order_statistics(positions, len(falling_q))
  for position in positions:
    one = found[position]
    assert one.score == falling_q[position] and one.above == (falling_q > one.score).sum()
    assert one.next_above in (None, falling_q[falling_q > one.score].min(initial=np.inf))
  points = scored_pairs_intervals(row_nd, label_n, FARS, Table(score_nn), rows=rows)
  for far, one in points.items():
    assert one.point == tar_at_far(roc(score_p, same_p), far)


@pytest.mark.parametrize("kind", ["joint-bayesian", "l2", "cosine"])
def test_thresholds_and_intervals_are_those_of_a_list_of_all_pairs(kind):
  test, verifier = faces(), fit_verifier(kind, faces(1, 40, "t"))
  for far in FARS[::2]:
    found, other = (measure_threshold(test, pairs, far, score=verifier)[0] for pairs in (None, listed(test)))
    assert (found.tar, found.far, found.nonmated, found.mated, found.score) == (
      other.tar,
      other.far,
      other.nonmated,
      other.mated,
      verifier.name,
    )
    np.testing.assert_allclose(
      [found.value, *found.interval], [other.value, *other.interval], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
      [found.far_interval, found.tar_interval], [other.far_interval, other.tar_interval], rtol=1e-9
    )


def test_the_cosine_as_a_verifier_has_the_intervals_of_the_cosine():
  test = faces(2)
  plain = all_pairs_intervals(test.embedding_nd, test.label_n, FARS)
  scored = scored_pairs_intervals(
    test.embedding_nd, test.label_n, FARS, Cosine.fit(test.embedding_nd), rows=9
  )
  for far in FARS:
    assert (plain[far].point.tar, plain[far].point.far) == (scored[far].point.tar, scored[far].point.far)
    for name in ("tar", "tar_at_threshold", "far"):
      np.testing.assert_allclose(getattr(plain[far], name), getattr(scored[far], name), rtol=1e-9)
    # The cosine ends at 1 and −1, another score does not end.
    np.testing.assert_allclose(plain[far].threshold, np.clip(scored[far].threshold, -1, 1), atol=1e-9)


def test_what_cannot_be_scored_is_named():
  test, verifier = faces(), fit_verifier("joint-bayesian", faces(1, 40, "t"))
  with pytest.raises(
    ValueError, match="mirror 'none', not 'sum', as the embeddings that joint-bayesian was fitted on"
  ):
    evaluate_all_pairs(replace(test, meta={"mirror": "none"}), score=verifier)
  with pytest.raises(ValueError, match="no labels, which all pairs need"):
    evaluate_all_pairs(replace(test, label_n=None), score=verifier)
  bad = faces()
  bad.embedding_nd[3] = np.nan
  with pytest.raises(ValueError, match="row 3: the embedding is not finite"):
    evaluate_all_pairs(bad, [0.1], score=verifier)
  score_nn = np.zeros((5, 5))
  score_nn[2, 4] = np.inf
  with pytest.raises(
    ValueError, match="table: the score of the embeddings 2 and 4 is inf, it must be finite"
  ):
    scored_pairs_intervals(np.arange(5.0)[:, None], np.array([0, 0, 1, 1, 2]), [0.1], Table(score_nn), rows=2)
  alone = Table(np.zeros((2, 2)))
  with pytest.raises(ValueError, match="0 mated and 1 non-mated"):
    scored_pairs_intervals(np.arange(2.0)[:, None], np.arange(2), [0.1], alone)
  single = type(
    "Single", (), {"name": "single", "raw": False, "score": alone.score, "check_meta": alone.check_meta}
  )()
  with pytest.raises(ValueError, match="single scores single pairs only"):
    measure_threshold(test, None, 0.1, score=single)


def test_the_commands_score_all_pairs_and_compare_two_scores(tmp_path, capsys):
  file = {name: str(tmp_path / name) for name in ("e.npz", "jb.npz", "l2.npz", "p.tsv", "o.json", "t.npz")}
  test, train = faces(), faces(1, 40, "t")
  write_embeddings(file["e.npz"], test)
  write_pairs(file["p.tsv"], listed(test))
  verifiers = {kind: fit_verifier(kind, train) for kind in ("joint-bayesian", "l2")}
  write_verifier(file["jb.npz"], verifiers["joint-bayesian"])
  write_verifier(file["l2.npz"], verifiers["l2"])
  use = ["--embeddings", file["e.npz"], "--verifier", file["jb.npz"], "--json", file["o.json"]]
  assert main(["evaluate", "--all-pairs", "--far", "0.03", *use]) == 0
  figures, expected = (
    json.loads((tmp_path / "o.json").read_text()),
    evaluate_all_pairs(test, [0.03], score=verifiers["joint-bayesian"]),
  )
  assert figures == json.loads(json.dumps(expected.figures)) and figures["score"] == "joint-bayesian"
  assert "scored by joint-bayesian" in capsys.readouterr().out
  assert main(["threshold", "--all-pairs", "--far", "0.03", *use, "--write", file["t.npz"]]) == 0
  assert read_verifier(file["t.npz"]).threshold.value == expected.points[0.03].point.threshold
  scored = {
    name: evaluate(test, listed(test), score=score).verification
    for name, score in (("jb", verifiers["joint-bayesian"]), ("l2", verifiers["l2"]), ("cosine", None))
  }
  for other, name in ((file["l2.npz"], "l2"), ("cosine", "cosine")):
    assert main(["evaluate", "--pairs", file["p.tsv"], *use, "--compare-verifier", other]) == 0
    found = json.loads((tmp_path / "o.json").read_text())
    for figure, difference in compare(scored["jb"], scored[name]).items():
      assert found["differences"][figure] == {
        key: getattr(difference, key) for key in ("value", "low", "high", "p")
      }
    assert found["first"]["score"] == "joint-bayesian" and found["second"].get("score") == (
      None if name == "cosine" else name
    )
  with pytest.raises(SystemExit):
    main(["evaluate", "--all-pairs", *use, "--compare-verifier", "cosine"])
  assert "--compare and --compare-verifier with --embeddings and --pairs" in capsys.readouterr().err
