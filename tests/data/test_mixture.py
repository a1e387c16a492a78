"""Several sets as one source, and the share that each has of every batch."""

import itertools
from dataclasses import replace

import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.data import (
  BalancedOrder,
  DataConfig,
  Loader,
  MixtureOrder,
  MixtureSource,
  SubsetSource,
  UniformOrder,
  make_order,
  open_records,
  open_source,
)
from jaxface.data.fingerprint import fingerprint
from jaxface.data.mixture import CYCLE
from jaxface.formats.face import Face
from jaxface.formats.images import encode_jpeg
from jaxface.formats.packing import pack
from jaxface.formats.writer import write_recordset

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)
WEIGHTS = st.lists(st.floats(0.01, 10), min_size=5, max_size=5)
SEEDS = st.integers(0, 2**31 - 1)


def mixed(sizes, weights, seed=0):
  return MixtureOrder(np.repeat(np.arange(len(sizes)), sizes), weights[: len(sizes)], seed)


def write_set(folder, people, images=3, *, size=16, template="arcface112", first=0):
  """A packed set with images of one brightness each, which name the set, person and image."""
  faces = []
  for label, _ in enumerate(people):
    for number in range(images):
      grey = np.full((size, size, 3), first + 10 * label + number, np.uint8)
      faces.append(Face(encode_jpeg(grey), label, f"{people[label]}/{number}", len(faces)))
  write_recordset(folder, faces, list(people), image_size=(size, size, 3), template=template, num_shards=1)
  return folder


@pytest.fixture
def two(tmp_path):
  """Ann and Bob, and Bob and Cid."""
  return [str(write_set(tmp_path / "one", ["ann", "bob"])), str(write_set(tmp_path / "other", ["bob", "cid"], images=4, first=100))]


@given(SIZES, WEIGHTS, SEEDS, st.integers(0, 3 * CYCLE))
def test_each_set_has_its_share_of_any_stretch(sizes, weights, seed, start):
  order = mixed(sizes, weights, seed)
  share_s = order.turns_s / CYCLE
  assert order.turns_s.sum() == CYCLE
  exact_s = np.array(weights[: len(sizes)]) / sum(weights[: len(sizes)])
  np.testing.assert_allclose(share_s, exact_s, atol=1 / CYCLE)
  for length in (1, 32, 1000):
    set_n, record_n, _ = order.rows(start, start + length)
    assert (set_n == np.repeat(np.arange(len(sizes)), sizes)[record_n]).all()
    error_s = np.abs(np.bincount(set_n, minlength=len(sizes)) - length * share_s)
    assert (error_s <= 1 + len(sizes) * share_s).all()


@given(SIZES, WEIGHTS, SEEDS)
def test_each_set_shows_every_record_once_per_epoch_of_its_own(sizes, weights, seed):
  # Oracle: walk the positions, and count what has been shown.
  order = mixed(sizes, weights, seed)
  shown = [[] for _ in sizes]
  for part, record, occurrence in zip(*order.rows(0, 4000)):
    assert occurrence == len(shown[part]) // sizes[part]
    shown[part].append(record)
  first = 0
  for size, records in zip(sizes, shown):
    epochs = [records[at : at + size] for at in range(0, len(records) - size + 1, size)]
    assert all(sorted(epoch) == list(range(first, first + size)) for epoch in epochs)
    first += size


@given(SIZES, WEIGHTS, SEEDS, st.lists(st.integers(0, 2 * CYCLE), min_size=2, max_size=6))
def test_rows_do_not_depend_on_the_slicing(sizes, weights, seed, cuts):
  order, cuts = mixed(sizes, weights, seed), sorted(cuts)
  whole = order.rows(cuts[0], cuts[-1])
  chex.assert_trees_all_equal(whole, tuple(np.concatenate(column) for column in zip(*(order.rows(*pair) for pair in itertools.pairwise(cuts)))))


def test_the_order_keeps_its_values():
  # A run must resume in the same order under any later version.
  set_n, record_n, _ = mixed([3, 4], [3, 1], seed=1).rows(CYCLE - 4, CYCLE + 8)
  assert set_n.tolist() == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0]
  assert record_n.tolist() == [1, 0, 5, 2, 1, 2, 4, 0, 2, 0, 6, 1]


def test_seeds_epochs_and_sets_differ():
  sizes, weights = [500, 500], [1, 1]
  first, second = (mixed(sizes, weights, seed).rows(0, 2000)[1] for seed in (0, 1))
  assert (first == second).mean() < 0.02 and (first[:1000] == first[1000:]).mean() < 0.02
  assert (first[:1000:2] == first[1:1000:2] - 500).mean() < 0.02


def test_far_positions_cost_no_more():
  assert len(set(mixed([10_000, 3], [9, 1]).rows(10**12, 10**12 + 64)[1])) > 50


@pytest.mark.parametrize("weights, message", [
  ([1.0], "2 sets needs as many positive weights"),
  ([1.0, 0.0], "as many positive weights"),
  ([1.0, float("nan")], "as many positive weights"),
  ([1e9, 1.0], r"weight 1\.0 of set 1 is less than one record in 65,536"),
])
def test_weights_that_cannot_be_met_are_named(weights, message):
  with pytest.raises(ValueError, match=message):
    mixed([3, 4], weights)


def test_a_set_of_which_nothing_is_left_is_named():
  with pytest.raises(ValueError, match="set 1 of the mixture has no records to take, but a weight of 2"):
    MixtureOrder(np.zeros(3, int), [1, 2])


def test_separate_and_shared_identities(two):
  separate, shared = (open_source(DataConfig(mixture=tuple(two), shared_identities=value))[0] for value in (False, True))
  assert separate.identity_names() == ["one/ann", "one/bob", "other/bob", "other/cid"]
  assert separate.label_n.tolist() == [0] * 3 + [1] * 3 + [2] * 4 + [3] * 4
  assert shared.identity_names() == ["ann", "bob", "cid"] and shared.num_identities == 3
  assert shared.label_n.tolist() == [0] * 3 + [1] * 7 + [2] * 4
  assert shared.names() == separate.names() and len(set(shared.names())) == 14
  assert shared.names()[0] == "one/ann/0" and shared.names()[-1] == "other/cid/3"
  assert fingerprint(shared)["labels_sha256"] != fingerprint(separate)["labels_sha256"]


def test_records_are_those_of_the_sets(two):
  whole = open_source(DataConfig(mixture=tuple(two)))[0]
  record_n = np.random.default_rng(0).permutation(14)
  for chosen_n in (record_n, record_n[record_n < 6]):  # of both sets, and of one
    image_bhwc = np.zeros((len(chosen_n), *whole.image_shape), np.uint8)
    assert whole.read(chosen_n, image_bhwc) == []
    grey = [[0, 1, 2, 10, 11, 12, 100, 101, 102, 103, 110, 111, 112, 113][record] for record in chosen_n]
    np.testing.assert_allclose(image_bhwc.mean((1, 2, 3)), grey, atol=1)


def test_a_damaged_record_is_named_with_its_row(two):
  whole = open_source(DataConfig(mixture=tuple(two)))[0]
  file, offset = whole.sources[1].records.place(2)
  with open(file, "r+b") as opened:
    opened.seek(offset + 40)
    opened.write(b"\xff" * 8)
  out = np.zeros((4, *whole.image_shape), np.uint8)
  errors = whole.read(np.array([8, 0, 7, 8]), out)
  assert [error.row for error in errors] == [0, 3] and errors[0].record == 2 and "other" in errors[0].file
  assert abs(out[1].mean() - 0) < 2 and abs(out[2].mean() - 101) < 2


def test_batches_have_their_shares_on_any_number_of_hosts_and_after_a_resume(two):
  config = DataConfig(mixture=tuple(two), weights=(3.0, 1.0))
  source = open_source(config)[0]
  order = make_order(config, source, 16, seed=4)
  with Loader(source, order, 16, steps=6) as loader:
    batches = list(loader)
  for batch in batches:
    assert (np.asarray(batch["label"]) >= 2).sum() == 4
  with Loader(source, order, 16, start_step=4, steps=2) as loader:
    chex.assert_trees_all_equal(list(loader), batches[4:])
  for index in range(2):
    with Loader(source, order, 16, steps=6, process_index=index, process_count=2) as loader:
      own = [{name: value[index * 8 : index * 8 + 8] for name, value in batch.items()} for batch in batches]
      chex.assert_trees_all_equal(list(loader), own)


def test_without_weights_each_record_comes_once_per_epoch_and_balanced_batches_use_all_identities(two):
  config = DataConfig(mixture=tuple(two), shared_identities=True)
  source = open_source(config)[0]
  order = make_order(config, source, 4)
  assert isinstance(order, UniformOrder) and sorted(order.rows(0, 14)[1]) == list(range(14))
  balanced = make_order(replace(config, order="balanced", identities_per_batch=3, images_per_identity=2), source, 6)
  assert isinstance(balanced, BalancedOrder) and set(source.label_n[balanced.rows(0, 6)[1]]) == {0, 1, 2}


def test_a_choice_of_identities_keeps_the_sets(two):
  config = DataConfig(mixture=tuple(two), weights=(1.0, 1.0), min_images=4)
  source, _ = open_source(config)
  assert isinstance(source, SubsetSource) and source.num_records == 8
  with pytest.raises(ValueError, match="set 0 of the mixture has no records"):
    make_order(config, source, 4)
  shared, held = open_source(replace(config, shared_identities=True, holdout=0.5))
  names = {name.split("/")[1] for part in (shared, held) for name in part.names()}
  assert names == {"bob", "cid"} and not {"bob"} <= {n.split("/")[1] for n in shared.names()} & {n.split("/")[1] for n in held.names()}


def test_sets_of_the_same_folder_name_are_numbered(two, tmp_path):
  again = str(write_set(tmp_path / "elsewhere" / "one", ["dan"]))
  source = open_source(DataConfig(mixture=(*two, again)))[0]
  assert source.sets == ("one-0", "other", "one-2")


def test_a_moved_set_is_the_same_data(two, tmp_path):
  before = fingerprint(open_source(DataConfig(mixture=tuple(two)))[0])
  (tmp_path / "one").rename(tmp_path / "moved")
  assert fingerprint(open_source(DataConfig(mixture=(str(tmp_path / "moved"), two[1])))[0]) == before
  assert fingerprint(open_source(DataConfig(mixture=(two[1], str(tmp_path / "moved"))))[0]) != before


def test_sets_that_do_not_mix_are_named(two, tmp_path):
  large = open_records(write_set(tmp_path / "large", ["dan"], size=24))
  aligned = open_records(write_set(tmp_path / "aligned", ["dan"], template="sphereface"))
  unknown = open_records(write_set(tmp_path / "unknown", ["dan"], template="unknown"))
  one = open_records(two[0])
  with pytest.raises(ValueError, match=r"different sizes \(one 16x16x3, large 24x24x3\): pack them with the same --size"):
    MixtureSource([one, large], ["one", "large"])
  with pytest.raises(ValueError, match=r"different templates \(one arcface112, aligned sphereface\)"):
    MixtureSource([one, aligned], ["one", "aligned"])
  assert MixtureSource([one, unknown], ["one", "unknown"]).template == "unknown"
  with pytest.raises(ValueError, match="different names, not 2 called one, one"):
    MixtureSource([one, one], ["one", "one"])


@pytest.mark.real_data
def test_real_faces_of_two_overlapping_sets(face_data, tmp_path):
  for name, people in (("one", (1, 2, 3)), ("other", (3, 4))):
    (tmp_path / name).mkdir()
    for person in people:
      (tmp_path / name / f"s{person}").symlink_to(face_data / "orl_faces" / f"s{person}")
    pack(tmp_path / name, tmp_path / "packed" / name, size=64, processes=1)
  sets = tuple(str(tmp_path / "packed" / name) for name in ("one", "other"))
  source = open_source(DataConfig(mixture=sets, weights=(1.0, 1.0), shared_identities=True))[0]
  assert source.identity_names() == ["s1", "s2", "s3", "s4"] and source.num_records == 50
  with Loader(source, make_order(DataConfig(mixture=sets, weights=(1.0, 1.0)), source, 20), 20, steps=3) as loader:
    batches = list(loader)
  image_bhwc = np.concatenate([batch["image"] for batch in batches])
  label_b = np.concatenate([batch["label"] for batch in batches])
  # Thirty of each set: the first has shown each image once, the second its twenty images one and a half times.
  assert np.bincount(label_b)[[0, 1]].tolist() == [10, 10] and np.bincount(label_b)[2] + np.bincount(label_b)[3] == 40
  assert len(np.unique(image_bhwc.reshape(60, -1), axis=0)) == 40  # the ten images of s3 are in both sets


@pytest.mark.parametrize("fields, message", [
  ({"mixture": ("a", "b"), "records": "c"}, r"data\.records and data\.mixture are both given"),
  ({"mixture": ("a", "b"), "weights": (1.0,)}, r"data\.weights has 1 numbers for 2 sets"),
  ({"weights": (1.0,)}, r"1 numbers for 0 sets"),
  ({"mixture": ("a", "b"), "weights": (1.0, -1.0)}, "needs positive numbers"),
  ({"mixture": ("a", "b"), "weights": (1.0, 1.0), "order": "balanced"}, r"data\.weights needs data\.order uniform"),
  ({"mixture": ("a", "b"), "order": "triplets", "embeddings": "e.npz"}, "needs one record set"),
  ({"mixture": ("a", "")}, "needs paths of record sets"),
])
def test_fields_that_contradict_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    DataConfig(**fields)
