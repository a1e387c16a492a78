"""IJB-B and IJB-C: templates, 1:1 and 1:N, against loops from the definitions."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from jaxface.evaluation import evaluate, make_toy, read_protocol
from jaxface.evaluation.protocols.one_to_many import identify
from jaxface.evaluation.protocols.templates import pool_templates, template_scores
from jaxface.formats import DamagedData, read_embeddings


@pytest.fixture
def toy(tmp_path):
  lists = make_toy("ijb-c", tmp_path / "toy")
  return lists, read_embeddings(tmp_path / "toy" / "embeddings.npz")


def published(lists, given):
  """Templates as the published script makes them: a loop over media."""
  row = {name: at for at, name in enumerate(given.names)}
  faces = [line.split() for line in (lists / "ijbc_face_tid_mid.txt").read_text().splitlines()]
  pooled = {}
  for template in sorted({int(face[1]) for face in faces}):
    media = {face[2] for face in faces if int(face[1]) == template}
    means = [np.mean([given.embedding_nd[row[f[0]]] for f in faces if int(f[1]) == template and f[2] == medium], 0) for medium in sorted(media)]
    total = np.sum(means, 0, dtype=np.float64)
    pooled[template] = total / np.linalg.norm(total)
  return pooled


def test_1_to_1_is_that_of_the_published_script(toy):
  lists, given = toy
  pooled = published(lists, given)
  pairs = [[int(part) for part in line.split()] for line in (lists / "ijbc_template_pair_label.txt").read_text().splitlines()]
  score_p = np.array([pooled[a] @ pooled[b] for a, b, _ in pairs])
  label_p = np.array([label for _, _, label in pairs])
  found = evaluate(given, lists, protocol="ijb-c").figures
  far, tar, _ = roc_curve(label_p, score_p, drop_intermediate=False)
  for name, value in found["tar_at_far"].items():
    assert value == pytest.approx(tar[far <= float(name)].max(), abs=1e-12)
  assert found["counts"] == {"faces": len(given.names), "templates": 120, "pairs": len(pairs), "mated": int(label_p.sum()), "nonmated": int((1 - label_p).sum())}


def test_identify_is_a_loop_over_probes():
  rng = np.random.default_rng(0)
  score_nm = rng.integers(0, 12, (60, 8)) / 12  # many ties
  probe_n = rng.integers(0, 14, 60)
  gallery_m = rng.permutation(8)
  found, _, _ = identify(score_nm, probe_n, gallery_m)
  place = {who: at for at, who in enumerate(gallery_m.tolist())}
  tops = [max(scores) for scores, who in zip(score_nm, probe_n) if who not in place]
  mated = [(scores, scores[place[who]]) for scores, who in zip(score_nm, probe_n.tolist()) if who in place]
  ranks = [sum(other >= own for other in scores) for scores, own in mated]
  for rank in (1, 5):
    assert found[f"rank-{rank}"] == np.mean([one <= rank for one in ranks])
  for name, fpir in (("1e-2", 1e-2), ("1e-1", 1e-1)):
    thresholds = [t for t in [*score_nm.ravel(), 9] if np.mean([top >= t for top in tops]) <= fpir]
    best = max(np.mean([rank == 1 and own >= t for rank, (_, own) in zip(ranks, mated)]) for t in thresholds)
    assert found[f"TPIR@FPIR {name}"] == best


def test_1_to_n_uses_two_galleries(toy):
  lists, given = toy
  pooled = published(lists, given)
  found = evaluate(given, lists, protocol="ijb-c-1n").figures
  hits = []
  for probe in range(40, 120, 2):  # mated in gallery 1: even subjects
    scores = {template: pooled[template] @ pooled[probe] for template in range(0, 40, 2)}
    hits.append(max(scores, key=scores.get) == probe % 40)
  assert found["galleries"]["G1"]["rank-1"] == np.mean(hits) and found["galleries"]["G1"]["nonmated_probes"] == 40
  assert found["mean"]["rank-1"] == np.mean([one["rank-1"] for one in found["galleries"].values()])


def test_a_video_counts_as_one_photo():
  embedding_nd = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
  template_t, unit_td = pool_templates(embedding_nd, np.arange(4), np.full(4, 7), np.array([1, 2, 2, 2]), list("abcd"))
  assert template_t.tolist() == [7]
  np.testing.assert_allclose(unit_td, [[0.5**0.5, 0.5**0.5]], rtol=1e-15)


def test_scores_of_blocks_are_those_of_single_pairs():
  rng = np.random.default_rng(0)
  unit_td = rng.normal(size=(700, 5))
  unit_td /= np.linalg.norm(unit_td, axis=1, keepdims=True)
  left_p, right_p = rng.integers(0, 700, (2, 3000))
  np.testing.assert_allclose(template_scores(unit_td, left_p, right_p), (unit_td[left_p] * unit_td[right_p]).sum(1), atol=1e-14)


@pytest.mark.parametrize(
  ("file", "text", "name", "message"),
  [
    ("ijbc_template_pair_label.txt", "0 1 1\n0 999 0\n", "ijb-c", "line 2: template 999 has no face"),
    ("ijbc_template_pair_label.txt", "0 1 1\n0 2", "ijb-c", "line 2: 2 fields"),
    ("ijbc_template_pair_label.txt", "0 1 5\n", "ijb-c", "line 1: label 5"),
    ("ijbc_template_pair_label.txt", "0 x 1\n", "ijb-c", "line 1: 'x' where a whole number"),
    ("ijbc_face_tid_mid.txt", "a.jpg 1\n", "ijb-c", "line 1: 2 fields"),
    ("ijbc_1N_gallery_G1.csv", "TEMPLATE_ID,SUBJECT_ID\n0,1\n", "ijb-c-1n", "subject 1 is in both galleries"),
    ("ijbc_1N_gallery_G1.csv", "TEMPLATE_ID,SUBJECT_ID\n0,0\n40,0\n", "ijb-c-1n", "a subject with two templates"),
    ("ijbc_1N_probe_mixed.csv", "TEMPLATE,SUBJECT\n0,0\n", "ijb-c-1n", "expected TEMPLATE_ID and SUBJECT_ID"),
  ],
)
def test_what_does_not_fit_is_named(file, text, name, message, toy):
  (toy[0] / file).write_text(text)
  with pytest.raises(DamagedData, match=message):
    read_protocol(name, toy[0])


def test_a_pair_that_occurs_twice_is_noted(toy):
  path = toy[0] / "ijbc_template_pair_label.txt"
  path.write_text(path.read_text() + "40 0 1\n")
  assert any("1 pairs occur more than once" in note for note in read_protocol("ijb-c", toy[0]).notes)


def test_every_figure_has_an_interval_and_a_small_set_is_noted(toy):
  found = evaluate(toy[1], toy[0], protocol="ijb-c")
  figures = found.figures
  for value, ends in ((figures["auc"], figures["auc_95"]), (figures["eer"], figures["eer_95"])):
    assert 0 <= ends[0] <= value <= ends[1] <= 1 and ends[0] < ends[1]
  nonmated = figures["nonmated"]
  assert any(f"FAR 0.001 needs 3,000 independent non-mated pairs even to be told from 0 (rule of 3); the list has {nonmated:,}" in note for note in found.notes) or nonmated >= 3000
  searched = evaluate(toy[1], toy[0], protocol="ijb-c-1n")
  assert any("FPIR 0.01 needs 300 independent non-mated probes" in note for note in searched.notes)
  for one in searched.figures["galleries"].values():
    for name in ("rank-1", "TPIR@FPIR 1e-1"):
      assert one[f"{name}_95"][0] <= one[name] <= one[f"{name}_95"][1]


def test_scores_without_an_error_have_an_interval_of_the_eer(toy, tmp_path):
  lists, given = toy
  faces = [line.split() for line in (lists / "ijbc_face_tid_mid.txt").read_text().splitlines()]
  embedding_nd = np.eye(40, dtype=np.float32)[[int(face[1]) % 40 for face in faces]]
  figures = evaluate(type(given)(embedding_nd, [face[0] for face in faces]), lists, protocol="ijb-c").figures
  assert figures["eer"] == figures["eer_95"][0] == 0 < figures["eer_95"][1] < 0.2 and figures["auc_95"][1] == 1 > figures["auc_95"][0]
