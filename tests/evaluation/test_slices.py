"""Figures per group, and their differences."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxface.evaluation import Attributes, Units, evaluate_slices, rate_change, read_attributes, verify_pairs
from jaxface.evaluation.slices.cuts import NO_GROUP, groups_of
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.pairs import Pairs

PEOPLE, IMAGES = 40, 3


def cosine(a, b):
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.fixture(scope="module")
def world():
  """Forty people, half f and half m, of whom m have noisier embeddings; one person has no sex; images have a quality."""
  random = np.random.default_rng(0)
  sex = np.array(["f", "m"] * (PEOPLE // 2), object)
  sex[7] = None
  noise = np.repeat(np.where(sex == "f", 0.5, 1.2), IMAGES)[:, None]
  vector_nd = np.repeat(random.normal(size=(PEOPLE, 8)), IMAGES, axis=0) + noise * random.normal(size=(PEOPLE * IMAGES, 8))
  names = [f"p{row // IMAGES:02d}/{row % IMAGES}" for row in range(PEOPLE * IMAGES)]
  left, right, same = [], [], []
  for pair in range(600):
    person, image, other = random.integers(PEOPLE), *random.choice(IMAGES, 2, replace=False)
    stranger = (person + random.integers(1, PEOPLE)) % PEOPLE
    left.append(names[person * IMAGES + image])
    right.append(names[(person if pair % 2 else stranger) * IMAGES + other])
    same.append(pair % 2 == 1)
  pairs = Pairs(left, right, np.array(same), np.arange(600) // 2 % 5)
  people = Attributes([f"p{person:02d}" for person in range(PEOPLE)], {"sex": sex, "age": np.arange(PEOPLE, dtype=np.float64)})
  images = Attributes([f"{name}.jpg" for name in names], {"quality": random.uniform(size=len(names))})
  return Embeddings(vector_nd.astype(np.float32), names), pairs, people, images


def test_the_figures_of_each_group_are_those_of_the_definition(world):
  embeddings, pairs, people, _ = world
  (found,) = evaluate_slices(embeddings, pairs, people, ["sex"])
  plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
  vector = dict(zip(embeddings.names, embeddings.embedding_nd))
  sex = dict(zip(people.names, people.columns["sex"]))
  score = [cosine(vector[a], vector[b]) for a, b in zip(pairs.left, pairs.right)]
  of = [(sex[a.split("/")[0]], sex[b.split("/")[0]]) for a, b in zip(pairs.left, pairs.right)]
  assert [group["group"] for group in plain["groups"]] == ["f", "m"] and plain["column"] == "sex" and plain["kind"] == "slices"
  for group in [*plain["groups"], plain["mixed"]]:
    name = group["group"]
    rows = [pair for pair in range(600) if of[pair] == (name, name) or (name == "mixed" and None not in of[pair] and len(set(of[pair])) == 2)]
    mated = [score[pair] for pair in rows if pairs.same[pair]]
    others = [score[pair] for pair in rows if not pairs.same[pair]]
    assert (group["pairs"], group["mated"], group["nonmated"]) == (len(rows), len(mated), len(others))
    for point, threshold in plain["thresholds"].items():
      rates = group["shared"][point]
      assert rates["fmr"] == pytest.approx(np.mean([one >= threshold for one in others]))
      assert rates["fnmr"] == (pytest.approx(np.mean([one < threshold for one in mated])) if mated else None)
      assert rates["fmr_95"][0] <= rates["fmr"] <= rates["fmr_95"][1]
    if name != "mixed":
      kept = Pairs([pairs.left[p] for p in rows], [pairs.right[p] for p in rows], pairs.same[rows], pairs.fold[rows])
      own = verify_pairs(embeddings.embedding_nd, embeddings.names, kept)
      assert (group["accuracy"], group["auc"], group["eer"], group["tar_at_far"]) == (own.accuracy, own.auc, own.eer, own.tar_at_far)
      assert group["accuracy_95"] == pytest.approx(list(own.intervals.accuracy))
  assert plain["unknown"]["pairs"] == sum(None in both for both in of) > 0
  assert sum(group["pairs"] for group in [*plain["groups"], plain["mixed"], plain["unknown"]]) == 600
  best = max(np.mean([(one >= at) == same for one, same in zip(score, pairs.same)]) for at in score)
  reached = np.mean([(one >= plain["thresholds"]["best accuracy"]) == same for one, same in zip(score, pairs.same)])
  assert reached == best


def test_a_worse_group_is_found_and_differences_of_two_groups_mirror_each_other(world):
  embeddings, pairs, people, _ = world
  (found,) = evaluate_slices(embeddings, pairs, people, ["sex"])
  f, m = (group["difference"] for group in found.figures["groups"])
  for one, other in ((f, m), *((f["shared"][point], m["shared"][point]) for point in found.figures["thresholds"])):
    for name in ({"auc", "eer"} if "auc" in one else {"fmr", "fnmr"}):
      assert one[name] == pytest.approx(-other[name]) and one[f"{name}_95"] == pytest.approx([-end for end in other[f"{name}_95"][::-1]])
  assert m["shared"]["best accuracy"]["fnmr_95"][0] > 0 and m["eer_95"][0] > 0  # m is noisier
  differential = found.figures["differential"]["best accuracy"]["fnmr"]
  rates = [group["shared"]["best accuracy"]["fnmr"] for group in found.figures["groups"]]
  assert differential["largest"] == "m" and differential["smallest"] == "f"
  assert differential["ratio"] == (None if min(rates) == 0 else pytest.approx(rates[1] / rates[0]))
  assert "m " in str(found).split("\n\n")[0] and "mixed" in str(found) and "FMR 1e-2 over all pairs" in str(found)


def test_one_group_has_the_figures_of_the_list_and_no_difference(world):
  embeddings, pairs, people, _ = world
  all_one = Attributes(people.names, {"set": np.array(["lfw"] * PEOPLE, object)})
  (found,) = evaluate_slices(embeddings, pairs, all_one, ["set"])
  (group,) = found.figures["groups"]
  whole = verify_pairs(embeddings.embedding_nd, embeddings.names, pairs)
  assert group["accuracy"] == whole.accuracy and group["auc_95"] == list(whole.intervals.auc) and group["pairs"] == 600
  assert group["difference"]["auc"] is None and group["difference"]["shared"]["1e-2"]["fnmr"] is None
  assert found.figures["mixed"]["pairs"] == 0 and "–" in str(found)


def test_numbers_are_cut_at_edges_or_quantiles_and_columns_are_crossed(world):
  embeddings, pairs, people, images = world
  age, crossed = evaluate_slices(embeddings, pairs, people, ["age", "sex+age"], edges={"age": [20]})
  assert [group["group"] for group in age.figures["groups"]] == ["< 20", "≥ 20"]
  assert [group["group"] for group in crossed.figures["groups"]] == ["f, < 20", "f, ≥ 20", "m, < 20", "m, ≥ 20"]
  f_young = next(group for group in crossed.figures["groups"] if group["group"] == "f, < 20")
  inside = [all(int(name[1:3]) < 20 and int(name[1:3]) % 2 == 0 for name in both) for both in zip(pairs.left, pairs.right)]
  assert f_young["pairs"] == sum(inside)
  (quality,) = evaluate_slices(embeddings, pairs, images, ["quality"])
  groups = quality.figures["groups"]
  assert len(groups) == 4 and max(group["images"] for group in groups) - min(group["images"] for group in groups) <= 3
  assert any("quality: cut at" in note for note in quality.notes) and any("mixed" in note for note in quality.notes)


def test_the_cut_of_values():
  group_i, names, note = groups_of(np.array([1.0, -1.0, np.nan, 1.0]))
  assert group_i.tolist() == [1, 0, NO_GROUP, 1] and names == ["-1", "1"] and not note
  group_i, names, _ = groups_of(np.array([19.9, 20, 39, 40, np.nan]), [20, 40])
  assert group_i.tolist() == [0, 1, 1, 2, NO_GROUP] and names == ["< 20", "20 to < 40", "≥ 40"]
  with pytest.raises(ValueError, match="must be ascending"):
    groups_of(np.array([1.0, 2]), [3, 3])
  with pytest.raises(ValueError, match="these values are text such as 'f'"):
    groups_of(np.array(["f", None], object), [3])


def test_the_interval_of_a_difference_is_newcombes_for_independent_pairs():
  # Newcombe, 1998, table II, (a): 56/70 - 48/80, method 10.
  success_p = np.array([1] * 56 + [0] * 14 + [1] * 48 + [0] * 32)
  units = Units(np.arange(150), np.arange(150), 150)
  change = rate_change(success_p, np.arange(150) < 70, units)
  assert change.value == pytest.approx(0.2) and change[1:] == pytest.approx((0.0524, 0.3339), abs=1e-4)
  # (c): 10/10 - 0/20.
  change = rate_change(np.arange(30) < 10, np.arange(30) < 10, Units(np.arange(30), np.arange(30), 30))
  assert change[1:] == pytest.approx((0.6791, 1.0), abs=1e-4)


def test_intervals_over_identities_hold_the_truth():
  random, held = np.random.default_rng(0), [0, 0]
  for _ in range(300):
    # Fifty people with ten pairs each: a person's pairs succeed together; halves of the pairs are two sets.
    rate_u = np.clip(random.normal(0.8, 0.15, 50), 0, 1)
    unit_p = np.repeat(np.arange(50), 10)
    success_p = random.uniform(size=500) < rate_u[unit_p]
    people = unit_p < 25
    units = Units(unit_p, unit_p, 50)
    for at, group_p in enumerate((people, np.arange(500) % 2 == 0)):
      change = rate_change(success_p, group_p, units)
      held[at] += change.low <= 0 <= change.high
  assert 0.92 <= held[0] / 300 <= 0.99 and 0.92 <= held[1] / 300 <= 0.99


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_are_read_from_text_and_parquet(tmp_path, suffix):
  columns = {"image": ["a/1.jpg", "a/2", "b"], "sex": ["f", None, "m"], "age": [20, None, 41], "id": [3, 4, 5]}
  path = tmp_path / f"table.{suffix}"
  if suffix == "parquet":
    parquet.write_table(pa.table(columns), path)
  else:
    split = {"csv": ",", "tsv": "\t"}[suffix]
    rows = [list(columns), *zip(*columns.values())]
    path.write_text("\n".join(split.join("" if cell is None else str(cell) for cell in row) for row in rows) + "\n")
  found = read_attributes(path)
  assert found.names == ["a/1.jpg", "a/2", "b"] and list(found.columns) == ["sex", "age", "id"]
  assert found.of("sex", ["a/1", "a/2", "b/7", "c/1"]).tolist() == ["f", None, "m", None]
  np.testing.assert_array_equal(found.of("age", ["a/1", "a/2", "b/7", "c/1"]), [20, np.nan, 41, np.nan])
  assert read_attributes(path, "id").names == ["3", "4", "5"]


def test_what_cannot_be_used_is_named(world, tmp_path):
  embeddings, pairs, people, _ = world
  with pytest.raises(ValueError, match=r"column of the table = 'hair' is unknown"):
    evaluate_slices(embeddings, pairs, people, ["hair"])
  with pytest.raises(ValueError, match="edges are given for 'age', which is not among the columns to group by: sex"):
    evaluate_slices(embeddings, pairs, people, ["sex"], edges={"age": [20]})
  with pytest.raises(ValueError, match=r"has none of the 120 images of the pairs, nor their identities"):
    evaluate_slices(embeddings, pairs, replace(people, names=[f"q{person}" for person in range(PEOPLE)]), ["sex"])
  with pytest.raises(ValueError, match=r"'a' has two rows"):
    Attributes(["a", "a"], {})
  (tmp_path / "t.csv").write_text("image,sex\na,f\n,m\n")
  with pytest.raises(DamagedData, match=r"the name in column 'image' is empty"):
    read_attributes(tmp_path / "t.csv")
  (tmp_path / "torn.parquet").write_bytes(b"PAR1")
  with pytest.raises(DamagedData, match="not a table with a header"):
    read_attributes(tmp_path / "torn.parquet")
  with pytest.raises(ValueError, match=r"tables are \.csv, \.tsv, \.parquet files"):
    read_attributes(tmp_path / "t.xls")


def test_small_groups_are_warned_of(world):
  embeddings, pairs, people, _ = world
  sex = people.columns["sex"].copy()
  sex[[1, 3]], sex[5] = "x", "y"
  (found,) = evaluate_slices(embeddings, pairs, Attributes(people.names, {"sex": sex}), ["sex"])
  notes = [note for note in found.notes if note.startswith("sex x")]
  assert any("non-mated pairs" in note for note in notes)
  (alone,) = found.figures["incomplete"]  # one person has no non-mated pairs with itself
  assert alone["group"] == "y" and alone["nonmated"] == 0 and alone["shared"]["1e-2"]["fmr"] is None and alone["shared"]["1e-2"]["fnmr"] is not None
  assert all(group["group"] != "y" for group in found.figures["groups"]) and "y " in str(found)
  assert any("sex y" in note and "need both kinds" in note for note in found.notes)
  assert any("rule of 3" in note for note in found.notes if note.startswith("sex f"))
