"""Protocols of pair lists: counts, labels, folds and settings on toy sets, and on the real lists."""

import pickle

import numpy as np
import pytest

from jaxface.evaluation import PROTOCOLS, evaluate, make_toy, read_bin, read_protocol, unpack_bin
from jaxface.evaluation.intervals.rates import wilson
from jaxface.evaluation.protocols.age_pose import read_six_thousand
from jaxface.evaluation.protocols.lfw import read_view_2
from jaxface.evaluation.protocols.rfw import _spread_intervals
from jaxface.evaluation.protocols.toy import TOYS
from jaxface.formats import DamagedData, Embeddings, Pairs, read_embeddings, read_pairs

PAIRED = [name for name in PROTOCOLS if name.split("-")[0] in ("pairs", "lfw", "ytf", "cfp", "agedb", "calfw", "cplfw", "bin")]


def test_every_protocol_has_a_toy_set():
  assert set(TOYS) == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_toy_set_is_evaluated_and_the_same_for_every_order_of_the_embeddings(name, tmp_path):
  lists = make_toy(name, tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  found = evaluate(given, lists, protocol=name, out=tmp_path / "figures.json")
  order = np.random.default_rng(1).permutation(len(given.names))
  again = evaluate(Embeddings(given.embedding_nd[order], [given.names[row] for row in order]), lists, protocol=name)
  assert found.figures["protocol"] == name and str(found)
  assert str(again.figures) == str(found.figures)
  assert (tmp_path / "figures.json").is_file()
  if name in PAIRED:
    assert 0.7 < found.figures["accuracy"] <= 1 and found.figures["counts"]["mated"] == found.figures["mated"]
  if name not in ("pairs", "bin", "closed-set", "trillion-pairs"):
    assert "a subset of the official lists" in found.notes[0]


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_zero_or_infinite_embedding_is_named(name, value, tmp_path):
  lists = make_toy(name, tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  embedding_nd = given.embedding_nd.copy()
  embedding_nd[0] = value
  given = Embeddings(embedding_nd, given.names)
  with pytest.raises(ValueError, match="zero or not finite"):
    evaluate(given, lists, protocol=name)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_an_absent_image_is_an_error_or_skipped_with_a_note(name, tmp_path):
  lists = make_toy(name, tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  first = given.names[0].rsplit("/", 1)[0] if name.startswith("ytf") else given.names[0]
  keep = [row for row, who in enumerate(given.names) if not who.startswith(first)]
  fewer = Embeddings(given.embedding_nd[keep], [given.names[row] for row in keep])
  with pytest.raises(ValueError, match=r"no (embedding|frame) is named"):
    evaluate(fewer, lists, protocol=name)
  found = evaluate(fewer, lists, protocol=name, skip_missing=True)
  assert any("ignored" in note for note in found.notes)


def test_larger_lists_than_the_official_ones_are_refused(tmp_path):
  lines = ["7 500"] + [line for fold in range(7) for line in
    [f"A{fold}_{n}\t1\t2" for n in range(500)] + [f"A{fold}_{n}\t1\tB{fold}_{n}\t1" for n in range(500)]]
  (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
  with pytest.raises(DamagedData, match=r"not the official lists: 7,000 pairs \(official: 6,000\)"):
    read_view_2(tmp_path)


def test_a_label_that_contradicts_the_names_is_refused(tmp_path):
  (tmp_path / "splits.txt").write_text("1, 1, Ann/0, Ann/1, 1\n1, 2, Ann/0, Bo/1, 1\n")
  with pytest.raises(DamagedData, match="line 2: 'Ann/0' and 'Bo/1' are listed as the same person, their names say otherwise"):
    read_protocol("ytf", tmp_path)


def test_people_in_several_folds_are_noted(tmp_path):
  (tmp_path / "splits.txt").write_text("1, 1, Ann/0, Ann/1, 1\n2, 1, Ann/0, Bo/1, 0\n")
  assert any("1 of 2 people are in several folds (first: 'Ann')" in note for note in read_protocol("ytf", tmp_path).notes)


def test_settings_of_lfw_allow_what_they_should(tmp_path):
  lists = make_toy("lfw", tmp_path / "toy")
  allowed = {name: read_view_2(lists, name).training(3) for name in ("unsupervised", "restricted", "unrestricted")}
  assert allowed["unsupervised"] == (None, {}) and not allowed["restricted"].person
  assert len(allowed["restricted"].pairs) == 9 * 12 and 3 not in allowed["restricted"].pairs.fold
  assert len(allowed["unrestricted"].person) == 9 * 12 and not any(who.startswith("P3_") for who in allowed["unrestricted"].person.values())
  with pytest.raises(ValueError, match="fold 10: there are 0, 1"):
    read_view_2(lists).training(10)
  assert evaluate(tmp_path / "toy" / "embeddings.npz", lists, protocol="lfw-unsupervised").figures["main_figure"] == "auc"
  (lists / "people.txt").unlink()
  with pytest.raises(FileNotFoundError, match=r"people\.txt"):
    read_view_2(lists, "unrestricted")


def test_view_1_takes_its_threshold_from_the_training_list(tmp_path):
  lists = make_toy("lfw-view1", tmp_path / "toy")
  found = evaluate(tmp_path / "toy" / "embeddings.npz", lists, protocol="lfw-view1")
  right = evaluate(
    tmp_path / "toy" / "embeddings.npz", lists / "pairsDevTest.txt", threshold_from=lists / "pairsDevTrain.txt"
  )
  assert found.figures["threshold_from"] == "train pairs" and found.figures["accuracy"] == right.figures["accuracy"]
  (lists / "pairsDevTest.txt").write_text((lists / "pairsDevTrain.txt").read_text())
  with pytest.raises(DamagedData, match="6 people are in both lists"):
    read_protocol("lfw-view1", lists)


def test_scores_of_videos_are_those_of_a_loop_over_frames(tmp_path):
  lists = make_toy("ytf", tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  pairs = read_pairs(lists / "splits.txt")

  def unit(x):
    return x / np.linalg.norm(x)

  def frames(video):
    return [unit(row.astype(np.float64)) for row, name in zip(given.embedding_nd, given.names) if name.startswith(f"{video}/")]

  cosines = [[a @ b for a in frames(left) for b in frames(right)] for left, right in zip(pairs.left, pairs.right)]
  slow = {
    "ytf": [np.mean(all_of) for all_of in cosines],
    "ytf-max": [max(all_of) for all_of in cosines],
    "ytf-pooled": [unit(sum(frames(a))) @ unit(sum(frames(b))) for a, b in zip(pairs.left, pairs.right)],
  }
  for name, right in slow.items():
    np.testing.assert_allclose(evaluate(given, lists, protocol=name).score_p, right, rtol=1e-12)


def test_two_line_lists(tmp_path):
  path = tmp_path / "pairs_CALFW.txt"
  path.write_text("Al_0001.jpg 1\nAl_0002.jpg 1\nBo_0001.jpg 2\nBo_0002.jpg 2\nAl_0001.jpg 0\nBo_0002.jpg 0\nBo_0001.jpg 0\nAl_0002.jpg 0\n")
  pairs = read_six_thousand(path, "calfw").pairs
  assert pairs.left == ["Al_0001.jpg", "Bo_0001.jpg", "Al_0001.jpg", "Bo_0001.jpg"]
  assert pairs.same.tolist() == [True, True, False, False] and pairs.fold.tolist() == [0, 1, 0, 1]
  for text, message in (
    ("Al_0001.jpg 1\n", "line 1: 1 lines: a pair has two"), ("Al_0001.jpg 1\nAl_0002.jpg 2\n", "line 2: token '2', but '1' in line 1"),
    ("Al_0001.jpg 1\nBo_0001.jpg 1\n", "are listed as the same person"),
  ):
    path.write_text(text)
    with pytest.raises(DamagedData, match=message):
      read_six_thousand(path, "calfw")


def test_cfp_names_what_does_not_fit(tmp_path):
  lists = make_toy("cfp-fp", tmp_path / "toy")
  same = lists / "Split" / "FP" / "01" / "same.txt"
  for text, message in (("1,9999\n", "line 1: image 9999 is not in the list"), ("1\n", "line 1: 1 fields"), ("1,4\n", "listed as the same person")):
    same.write_text(text)
    with pytest.raises(DamagedData, match=message):
      read_protocol("cfp-fp", lists)
  same.write_text("1,1\n")
  read_protocol("cfp-fp", lists)  # the first frontal and the first profile image of person 1
  (lists / "Pair_list_P.txt").unlink()
  with pytest.raises(FileNotFoundError, match="Pair_list_P"):
    read_protocol("cfp-fp", lists)


@pytest.mark.parametrize("protocol", range(0, 6))
def test_bins_of_every_pickle_protocol_are_read_without_unpickling(protocol, tmp_path, monkeypatch):
  images = [bytes([255, 216, *range(number, 256)]) for number in range(6)]
  data = pickle.dumps((images, [True, False, True]), protocol=protocol)
  (tmp_path / "a.bin").write_bytes(data)
  monkeypatch.setattr(pickle, "loads", None)
  monkeypatch.setattr(pickle, "load", None)
  found, same_p = read_bin(tmp_path / "a.bin")
  assert found == images and same_p.tolist() == [True, False, True]


class Evil:
  def __reduce__(self):
    return (print, ("run",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bin_that_wants_to_run_something_is_refused(protocol, tmp_path, capsys):
  (tmp_path / "a.bin").write_bytes(pickle.dumps(([Evil(), b"x"], [True]), protocol=protocol))
  with pytest.raises(DamagedData, match="holds the pickle instruction"):
    read_bin(tmp_path / "a.bin")
  assert "run" not in capsys.readouterr().out


def test_a_bin_cut_anywhere_is_refused(tmp_path):
  data = pickle.dumps(([b"a", b"b"], [True]), protocol=4)
  for size in range(len(data)):
    (tmp_path / "a.bin").write_bytes(data[:size])
    with pytest.raises(DamagedData, match=r"a\.bin"):
      read_bin(tmp_path / "a.bin")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (([b"a"], [True]), "1 images for 1 pairs"), (([], []), "0 images for 0 pairs"), (([b"a", True], [True]), "record 1: image is bool"),
    (([b"a", b"b"], [7]), "label of the pair is 7"), ([b"a"], "not a pair"),
  ],
)
def test_bins_of_other_content_are_refused(content, message, tmp_path):
  (tmp_path / "a.bin").write_bytes(pickle.dumps(content, protocol=4))
  with pytest.raises(DamagedData, match=message):
    read_bin(tmp_path / "a.bin")


def test_a_bin_is_unpacked_to_images_and_pairs(tmp_path):
  lists = make_toy("bin", tmp_path / "toy")
  assert unpack_bin(lists / "toy.bin", tmp_path / "out") == 240
  assert len(list((tmp_path / "out" / "images").glob("*.jpg"))) == 240
  pairs, right = read_pairs(tmp_path / "out" / "pairs.tsv"), read_protocol("bin", lists).pairs
  assert pairs.left == right.left and pairs.fold.tolist() == right.fold.tolist()


def test_options_that_do_not_fit_are_refused(tmp_path):
  lists = make_toy("ytf", tmp_path / "toy")
  with pytest.raises(ValueError, match="threshold_from applies to pair lists only"):
    evaluate(tmp_path / "toy" / "embeddings.npz", lists, protocol="ytf", threshold_from=lists / "splits.txt")
  empty = Pairs([], [], np.zeros(0, bool), np.zeros(0, np.int64))
  with pytest.raises(ValueError, match="reads its official lists"):
    evaluate(tmp_path / "toy" / "embeddings.npz", empty, protocol="ytf")


def test_groups_are_evaluated_one_by_one(tmp_path):
  lists = make_toy("rfw", tmp_path / "toy")
  given = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  found = evaluate(given, lists, protocol="rfw").figures
  share = []
  for group in ("African", "Asian", "Caucasian", "Indian"):
    rows = [row for row, name in enumerate(given.names) if name.startswith(group)]
    alone = Embeddings(given.embedding_nd[rows], [given.names[row].split("/", 1)[1] for row in rows])
    (tmp_path / "one.txt").write_text("10 6\n" + (lists / group / f"{group}_pairs.txt").read_text())
    share.append(evaluate(alone, tmp_path / "one.txt").figures["accuracy"])
    assert found["groups"][group]["accuracy"] == share[-1]
  assert found["accuracy_std"] == pytest.approx(np.std(share, ddof=1))
  assert found["skewed_error_ratio"] == pytest.approx((1 - min(share)) / (1 - max(share)))
  ends = [found["groups"][group]["accuracy_interval"] for group in ("African", "Asian", "Caucasian", "Indian")]
  half = np.sqrt(sum((value - low) ** 2 for value, (low, _) in zip(share, ends))) / 4
  assert found["accuracy_mean_95"][0] == pytest.approx(np.mean(share) - half)
  for name in ("accuracy_std", "skewed_error_ratio"):
    low, high = found[f"{name}_95"]
    assert low <= found[name] <= high and low < high


def test_the_spread_of_groups_has_the_interval_of_their_true_spread():
  """Groups with true errors of 2, 4, 4 and 8 %, 3,000 independent pairs each: the ratio 4 is in most of 100 intervals."""
  random, errors = np.random.default_rng(0), np.array([0.02, 0.04, 0.04, 0.08])
  held = {"accuracy_std": 0, "skewed_error_ratio": 0}
  truth = {"accuracy_std": errors.std(ddof=1), "skewed_error_ratio": 4.0}
  for _ in range(100):
    wrong_g = random.binomial(3_000, errors)
    found = _spread_intervals(wrong_g / 3_000, np.array([wilson(3_000 - int(wrong), 3_000) for wrong in wrong_g]))
    for name in held:
      held[name] += found[f"{name}_95"][0] <= truth[name] <= found[f"{name}_95"][1]
  assert min(held.values()) >= 88, held


def test_closed_set_by_hand(tmp_path):
  embedding_nd = np.array([[1, 0], [1, 0.2], [0, 1], [1, 0.1], [0.9, 1], [1, 0.5]], np.float32)
  given = Embeddings(embedding_nd, ["a1", "a2", "b1", "a3", "b2", "b3"])
  path = tmp_path / "closed_set.txt"
  path.write_text("a1 a gallery\na2 a gallery\nb1 b gallery\na3 a probe\nb2 b probe\nb3 b probe\n")
  found = evaluate(given, path, protocol="closed-set").figures
  assert found["accuracy"] == 2 / 3 and found["class_accuracy"] == {"a": 1.0, "b": 0.5} and found["mean_class_accuracy"] == 0.75
  assert found["confused"] == [{"person": "b", "taken_for": "a", "probes": 1}]
  for text, message in (
    ("a1 a gallery\nb2 b probe\n", "'b', who has no gallery image"), ("a1 a gallery\na1 a probe\n", "'a1' is listed twice, first in line 1"),
    ("a1 a gallery\n", "no image has the role 'probe'"), ("a1 a query\n", "with the role gallery or probe"),
  ):
    path.write_text(text)
    with pytest.raises(DamagedData, match=message):
      read_protocol("closed-set", path)


@pytest.mark.real_data
@pytest.mark.parametrize(
  ("name", "at", "counts"),
  [
    ("lfw", "pairs.txt", {"pairs": 6000, "folds": 10, "images": 7701, "people": 4281}),
    ("lfw-unrestricted", ".", {"people in people.txt": 5749, "images in people.txt": 13233}),
    ("lfw-view1", ".", {"pairs": 1000, "pairs of the training list": 2200}),
    ("ytf", "ytf_splits.txt", {"pairs": 5000, "mated": 2500, "images": 3226, "people": 1447}),
    ("cfp-ff", "cfp", {"pairs": 7000, "mated": 3500, "folds": 10}),
    ("cfp-fp", "cfp", {"pairs": 7000, "mated": 3500, "folds": 10}),
  ],
)
def test_the_official_lists_have_the_official_counts(name, at, counts, face_data):
  found = read_protocol(name, face_data / "protocols" / at)
  assert counts.items() <= found.counts.items()
  assert not [note for note in found.notes if "official" in note]


@pytest.mark.real_data
def test_one_other_pair_in_the_official_list_is_noted(face_data, tmp_path):
  text = (face_data / "protocols" / "pairs.txt").read_text()
  (tmp_path / "pairs.txt").write_text(text.replace("Abel_Pacheco\t1\t4", "Abel_Pacheco\t1\t3", 1))
  notes = read_protocol("lfw", tmp_path).notes
  assert any("official" in note for note in notes)
