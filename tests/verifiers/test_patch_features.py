"""Features patch by patch: columns, scores, selection by the command, the picture and the table."""

import csv
import json

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import cosine_of_pairs
from jaxface.formats.embeddings import Embeddings, read_embeddings, write_embeddings
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.pairs import Pairs, write_pairs
from jaxface.geometry.patches import boxes, crop, deepid2_patches
from jaxface.geometry.templates import template
from jaxface.verifiers import JointBayesian, PatchFeatures, draw_patches, patch_box, read_selection

FACE = template("arcface112")


def ensemble(people=12, images=4, patches=4, size=5, mirror="none", seed=0):
  """Embeddings whose patch i is the less noisy the higher i is."""
  random = np.random.default_rng(seed)
  halves = 2 if mirror == "concat" else 1
  label_n = np.repeat(np.arange(people), images)
  mean = random.normal(size=(people, halves * patches, size))
  noise = np.linspace(3, 0.5, patches)[np.arange(halves * patches) % patches]
  row = mean[label_n] + noise[:, None] * random.normal(size=(len(label_n), halves * patches, size))
  listed = [f"p{label}/{number}" for number, label in enumerate(label_n)]
  return Embeddings(row.reshape(len(label_n), -1).astype(np.float32), listed, label_n, {"mirror": mirror})


def pairs_of(embeddings, seed=0, count=80):
  random = np.random.default_rng(seed)
  left = random.integers(0, len(embeddings.names), count)
  right = np.where(np.arange(count) % 2, (left + 4) % len(embeddings.names), (left // 4) * 4 + (left + 1) % 4)
  same = embeddings.label_n[left] == embeddings.label_n[right]
  return Pairs([embeddings.names[i] for i in left], [embeddings.names[i] for i in right], same, np.zeros(count, np.int64))


def test_patches_are_named_in_the_order_of_the_embedding():
  features = PatchFeatures.of(ensemble(mirror="concat"), ["a", "b", "c", "d"])
  assert features.names == ("a", "b", "c", "d", "a_mirrored", "b_mirrored", "c_mirrored", "d_mirrored") and features.size == 5
  assert features.columns("b_mirrored") == slice(25, 30)
  assert PatchFeatures.of(ensemble(), size=10).names == ("patch000", "patch001")
  with pytest.raises(ValueError, match="20 numbers are not those of 3 patches"):
    PatchFeatures.of(ensemble(), ["a", "b", "c"])
  with pytest.raises(ValueError, match="patch 'e': the embeddings have a, b"):
    features.columns("e")


def test_scores_are_those_of_each_patch_alone():
  made = ensemble()
  pairs = pairs_of(made)
  features = PatchFeatures.of(made, size=5)
  left, right = ([made.names.index(name) for name in side] for side in (pairs.left, pairs.right))
  for score in ("cosine", "inner-product", "joint-bayesian"):
    [found] = features.pair_scores(made, [pairs], score=score, training=ensemble(40, seed=1) if score == "joint-bayesian" else None)
    for number, name in enumerate(features.names):
      part = made.embedding_nd[:, features.columns(name)].astype(float)
      if score == "joint-bayesian":
        training = ensemble(40, seed=1)
        verifier = JointBayesian.fit(training.embedding_nd[:, features.columns(name)], training.label_n, say=lambda line: None)
        expected = verifier.score(part[left], part[right])
      else:
        expected = cosine_of_pairs(part, np.array(left), np.array(right)) if score == "cosine" else (part[left] * part[right]).sum(1)
      np.testing.assert_allclose(found.score_np[number], expected, rtol=1e-6, atol=1e-9)
  with pytest.raises(ValueError, match="give training embeddings"):
    features.pair_scores(made, [pairs], score="joint-bayesian")
  zero = made.embedding_nd.copy()
  zero[left[0], 5:10] = 0
  with pytest.raises(ValueError, match="patch 'patch001': "):
    features.pair_scores(Embeddings(zero, made.names, made.label_n), [pairs])
  with pytest.raises(ValueError, match="'nobody/1' has no embedding"):
    features.pair_scores(made, [Pairs(["nobody/1"], ["p0/0"], np.array([True]), np.zeros(1, np.int64))])


def test_taking_patches_takes_their_columns():
  made = ensemble()
  features = PatchFeatures.of(made, ["a", "b", "c", "d"])
  taken = features.take(made, ["d", "b"])
  np.testing.assert_array_equal(taken.embedding_nd, np.hstack([made.embedding_nd[:, 15:20], made.embedding_nd[:, 5:10]]))
  assert taken.meta["patches"] == ["d", "b"] and taken.names == made.names
  with pytest.raises(ValueError, match="embeddings of 15 numbers: 4 patches of 5 have 20"):
    features.take(taken.__class__(made.embedding_nd[:, :15], made.names), ["a"])


def test_the_commands_select_and_take(tmp_path, capsys):
  made = ensemble(mirror="concat")
  write_embeddings(tmp_path / "all.npz", made)
  write_pairs(tmp_path / "pairs.tsv", pairs_of(made))
  given = ["patches", "select", "--embeddings", str(tmp_path / "all.npz"), "--pairs", str(tmp_path / "pairs.tsv"), "--size", "5"]
  assert main([*given, "--count", "2", "--groups", "3", "--out", str(tmp_path / "out")]) == 0
  printed = json.loads(capsys.readouterr().out)
  features, groups = read_selection(tmp_path / "out/selection.json")
  assert [group["patches"] for group in printed] == groups and [len(group) for group in groups] == [2, 2, 2]
  rows = list(csv.DictReader((tmp_path / "out/trace.csv").open()))
  assert rows[0]["action"] == "add" and float(rows[-1]["accuracy"]) == printed[-1]["accuracy"]
  assert not (tmp_path / "out/patches.png").exists()
  taken = tmp_path / "group.npz"
  assert main(["patches", "take", "--embeddings", str(tmp_path / "all.npz"), "--selection", str(tmp_path / "out/selection.json"), "--group", "2", "--out", str(taken)]) == 0
  np.testing.assert_array_equal(read_embeddings(taken).embedding_nd, features.take(made, groups[1]).embedding_nd)
  assert main(["patches", "take", "--embeddings", str(tmp_path / "all.npz"), "--selection", str(tmp_path / "out/selection.json"), "--group", "4", "--out", str(taken)]) == 2
  assert "groups 1 to 3" in capsys.readouterr().err
  (tmp_path / "other.json").write_text('{"kind": "verifier"}')
  with pytest.raises(DamagedData):
    read_selection(tmp_path / "other.json")


def test_boxes_are_where_the_crops_of_the_network_are():
  patches = deepid2_patches(FACE)
  by_name = {patch.name: patch for patch in patches}
  image_hwc = np.zeros((112, 112, 3), np.float32)
  image_hwc[:, :40] = 1  # bright on the left
  for name in ("row2_column0_080_rgb", "row2_column0_080_rgb_mirrored"):
    left, _, width, height = patch_box(name, patches, FACE, (112, 112))
    assert (height, width) == pytest.approx(by_name["row2_column0_080_rgb"].size, rel=1e-5)
    seen = image_hwc[:, ::-1] if name.endswith("_mirrored") else image_hwc
    mean = float(crop(seen[None], boxes([by_name["row2_column0_080_rgb"]], FACE, (112, 112)), (55, 47)).mean())
    x = np.arange(4000) / 4000 * width + left
    assert mean == pytest.approx((x < 39.5).mean(), abs=0.02)
    assert 0 < mean < 1 or name.endswith("_mirrored")
  with pytest.raises(ValueError, match="patch 'nose'"):
    patch_box("nose", patches, FACE, (112, 112))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_shows_the_boxes(tmp_path, suffix):
  patches = deepid2_patches(FACE)
  groups = [["row2_column2_100_rgb", "row0_column1_080_grey_mirrored"], ["row4_column4_156_rgb"]]
  draw_patches(tmp_path / f"a{suffix}", groups, patches, FACE)
  if suffix == ".png":
    drawn = decode_image((tmp_path / "a.png").read_bytes(), where="test")
    draw_patches(tmp_path / "b.png", groups[:1], patches, FACE, face_hwc=np.full((112, 112, 3), 30, np.uint8))
    grey = decode_image((tmp_path / "b.png").read_bytes(), where="test")
    assert drawn.shape[1] > grey.shape[1] and (grey == 30).all(-1).mean() > 0.3 and (drawn == 30).all(-1).mean() < 0.1
  else:
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
  with pytest.raises(ValueError, match="pictures are written as"):
    draw_patches(tmp_path / "a.bmp", groups, patches, FACE)


@pytest.mark.real_data
def test_patches_of_untrained_networks_are_selected_on_view_1(tmp_path, face_data):
  import jax

  from jaxface import models
  from jaxface.evaluation.protocols.lfw import read_view_1

  view_1 = read_view_1(face_data / "protocols")
  listed = list(dict.fromkeys([*view_1.pairs.left[:30], *view_1.pairs.right[:30], *view_1.pairs.left[-30:], *view_1.pairs.right[-30:]]))
  image_bhwc = np.stack([decode_image((face_data / "lfw_aligned112" / f"{name}.jpg").read_bytes(), where="test") for name in listed]).astype(np.float32) / 127.5 - 1
  net = models.create("deepid_ensemble", regions=("face", "nose"), scales=(1.0,), width=0.25, embedding_size=16)
  variables = jax.jit(lambda key: net.init(key, image_bhwc[:1], train=False))(jax.random.key(0))
  made = np.asarray(jax.jit(lambda image: net.apply(variables, image, train=False))(image_bhwc), np.float32)
  used = [*range(30), *range(len(view_1.pairs) - 30, len(view_1.pairs))]
  pairs = Pairs([view_1.pairs.left[i] for i in used], [view_1.pairs.right[i] for i in used], view_1.pairs.same[used], np.zeros(60, np.int64))
  write_embeddings(tmp_path / "lfw.npz", Embeddings(made, listed))
  write_pairs(tmp_path / "pairs.tsv", pairs)
  from jaxface.pipeline import select_groups

  found = select_groups(tmp_path / "lfw.npz", tmp_path / "pairs.tsv", tmp_path / "out", size=16, count=2, score="inner-product")
  assert 0.5 <= found.accuracy(1) <= 1 and len(found.groups[0]) == 2
