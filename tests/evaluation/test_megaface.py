"""MegaFace and Trillion-Pairs: ranks among distractors and TAR at FAR, against loops from the definitions."""

import json

import numpy as np
import pytest

from jaxface.evaluation import evaluate, make_toy, read_protocol
from jaxface.evaluation.intervals.means import mean_interval
from jaxface.evaluation.measures.roc import allowed_errors
from jaxface.evaluation.protocols import distractors
from jaxface.formats import DamagedData, read_embeddings


def toy(name, tmp_path):
  """Lists, embeddings, and the embeddings at length one."""
  lists = make_toy(name, tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  unit_nd = given.embedding_nd.astype(np.float64)
  return lists, given, unit_nd / np.linalg.norm(unit_nd, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [7, 8192])
def test_ranks_and_tar_are_those_of_loops(block, tmp_path, monkeypatch):
  monkeypatch.setattr(distractors, "BLOCK", block)
  lists, given, unit_nd = toy("megaface-facescrub", tmp_path)
  found = evaluate(given, lists, protocol="megaface-facescrub").figures
  probe_pd, distractor_md = unit_nd[:40], unit_nd[40:]
  mated = [(a, b) for a in range(40) for b in range(40) if a != b and a // 4 == b // 4]
  assert list(found["distractors"]) == ["10", "100", "1000"] and found["mated"] == len(mated) // 2
  for size, one in found["distractors"].items():
    rank = [1 + (distractor_md[: int(size)] @ probe_pd[a] >= probe_pd[a] @ probe_pd[b]).sum() for a, b in mated]
    within = {limit: np.array(rank) <= limit for limit in (1, 10)}
    person = np.array([a // 4 for a, _ in mated])
    assert one == {f"rank-{limit}": correct.mean() for limit, correct in within.items()} | {
      f"rank-{limit}_95": list(mean_interval(correct, person)) for limit, correct in within.items()
    }
  own, other = np.array([probe_pd[a] @ probe_pd[b] for a, b in mated]), np.sort((probe_pd @ distractor_md.T).ravel())[::-1]
  for far, allowed in (("1e-6", 0), ("1e-4", 4), ("1e-3", 40)):
    assert found["tar_at_far"][far] == np.mean(own > other[allowed])


@pytest.mark.parametrize(
  ("table", "message"),
  [
    ({"path": ["a", "a"], "id": ["x", "x"]}, "'a' is listed twice"), ({"path": ["a"], "id": []}, "expected an object with lists"),
    ({"path": ["a", "b"], "id": ["x"]}, "path and id have 2 and 1 entries"), ({"path": ["D0/0.jpg"], "id": ["x"]}, "is a probe too"),
    ([1], "expected an object"),
  ],
)
def test_what_does_not_fit_is_named(table, message, tmp_path):
  lists = make_toy("megaface-fgnet", tmp_path / "toy")
  (lists / "fgnet_features_list.json").write_text(json.dumps(table))
  with pytest.raises(DamagedData, match=message):
    read_protocol("megaface-fgnet", lists)


def test_a_list_cut_short_is_named(tmp_path):
  lists = make_toy("megaface-fgnet", tmp_path / "toy")
  path = lists / "fgnet_features_list.json"
  path.write_bytes(path.read_bytes()[:-3])
  with pytest.raises(DamagedData, match="not a complete JSON file"):
    read_protocol("megaface-fgnet", lists)


@pytest.mark.parametrize("block", [7, 8192])
def test_trillion_pairs_is_a_loop(block, tmp_path, monkeypatch):
  monkeypatch.setattr(distractors, "BLOCK", block)
  lists, given, unit_nd = toy("trillion-pairs", tmp_path)
  found = evaluate(given, lists, protocol="trillion-pairs").figures
  top_p = (unit_nd[:40] @ unit_nd[40:].T).max(1)
  mated = [(a, unit_nd[a] @ unit_nd[b]) for a in range(40) for b in range(40) if a != b and a // 4 == b // 4]
  # 40 probes at FPR 1e-3, and 20,000 pairs at 1e-9: no false accept in either, so the limit is the highest score of all.
  assert found["identification_tpr_at_fpr_1e-3"] == np.mean([own > top_p.max() for _, own in mated])
  assert found["verification_tpr_at_fpr_1e-9"] == np.mean([own > top_p.max() for _, own in mated])
  monkeypatch.setattr("jaxface.evaluation.protocols.trillion_pairs.IDENTIFICATION", 0.5)
  limit = np.sort(top_p)[::-1][20]
  again = evaluate(given, lists, protocol="trillion-pairs").figures
  assert again["identification_tpr_at_fpr_1e-3"] == np.mean([own > max(limit, top_p[a]) for a, own in mated])


def test_the_highest_scores_are_those_of_a_sort():
  rng = np.random.default_rng(0)
  score = rng.integers(0, 50, 300) / 50
  kept = distractors.Highest(20)
  for part in np.array_split(score, 7):
    kept.add(part)
  assert [kept.limit(allowed) for allowed in range(20)] == np.sort(score)[::-1][:20].tolist()
  with pytest.raises(ValueError, match="only 20 are kept"):
    kept.limit(20)
  assert [allowed_errors(far, 3000) for far in (1e-3, 1e-4, 1.0, 0.00099)] == [3, 0, 3000, 2]
