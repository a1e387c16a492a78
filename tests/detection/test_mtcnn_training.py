"""Training of MTCNN: squares and their targets, files of crops, order of batches, mirrored crops, a whole run that is resumed."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.detection import detect, load_detector
from jaxface.detection.crop_network import (
  MirrorCrops,
  crop_network,
  detector_params,
  mirror_shift,
  mirror_targets,
)
from jaxface.detection.crop_sampling import (
  LEFT_OUT,
  Sampling,
  TrainingPhoto,
  draw_squares,
  label_squares,
  mined_squares,
  offsets,
)
from jaxface.detection.detector_data import (
  annotated_photos,
  empty_photos,
  split_events,
  stage_crops,
  wider_photos,
)
from jaxface.detection.mtcnn_nets import NETS
from jaxface.detection.mtcnn_training import MtcnnTraining, StageTraining, make_stage_run
from jaxface.detection.sample_files import CropSource, KindOrder, write_samples
from jaxface.evaluation.detection.labelled_photos import LabelledPhoto, read_wider
from jaxface.formats import AnnotatedFace, DamagedData, encode_jpeg, write_landmarks
from jaxface.geometry.rectangles import decode_boxes
from jaxface.losses.detection import NEGATIVE, PART, POINTS, POSITIVE
from jaxface.pipeline import train
from jaxface.training import Workdir, read_metrics, train_run

BOX = np.array([[20.0, 30, 60, 80]])
POINT = np.array([[[30.0, 45], [50, 46], [40, 58], [32, 68], [49, 69]]])
PHOTO = TrainingPhoto("a.jpg", BOX, POINT)


# --- squares


def slow_overlap(a, b):
  pixels = sum(a[0] <= x < a[2] and a[1] <= y < a[3] for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3])))
  return pixels / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - pixels)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["pnet", "rnet", "onet"]))
def test_drawn_squares_are_what_their_kind_says(seed, net):
  found = draw_squares(PHOTO, (120, 100), net, Sampling(around=10, near=3, anywhere=10, with_points=4), np.random.default_rng(seed))
  assert len(found.edge_n4) == len(found.target_nt) > 8
  for edge, target in zip(found.edge_n4, found.target_nt):
    assert edge[2] - edge[0] == edge[3] - edge[1] > 0
    overlap, kind = slow_overlap(edge, BOX[0]), target[0]
    assert (kind == NEGATIVE and overlap < 0.3) or (kind == PART and 0.4 <= overlap < 0.65) or (kind in (POSITIVE, POINTS) and overlap >= 0.65)
    assert target[1:5].any() == (kind != NEGATIVE) and target[5:].any() == (kind == POINTS)
    if net == "pnet":
      assert edge.min() >= 0 and edge[2] <= 100 and edge[3] <= 120


def test_targets_by_hand():
  edge_n4 = np.array([[20, 35, 60, 75], [20, 30, 100, 110], [70, 80, 80, 90], [18, 30, 68, 80]], np.int32)
  target_nt = label_squares(edge_n4, PHOTO, "rnet")
  # Overlaps 0.8, 2,000 / 6,400, 0 and 2,000 / 2,500.
  assert target_nt[:, 0].tolist() == [POSITIVE, LEFT_OUT, NEGATIVE, POSITIVE]
  np.testing.assert_allclose(target_nt[0, 1:5], [0, -5 / 40, 0, 5 / 40])
  pointed = label_squares(edge_n4, PHOTO, "onet", points=True)
  assert pointed[0, 0] == POINTS
  np.testing.assert_allclose(pointed[0, 5:7], [10 / 40, 10 / 40])
  without = TrainingPhoto("a.jpg", BOX, POINT * np.nan)
  assert label_squares(edge_n4[:1], without, "onet", points=True)[0].tolist() == [LEFT_OUT] + [0.0] * 14
  nobody = TrainingPhoto("b.jpg", np.zeros((0, 4)), np.zeros((0, 5, 2)))
  assert label_squares(edge_n4, nobody, "rnet")[:, 0].tolist() == [NEGATIVE] * 4


@pytest.mark.parametrize("net", ["pnet", "rnet"])
def test_the_cascade_decodes_offsets_to_the_face(net):
  edge_n4, face_n4 = np.array([[24.0, 36, 72, 84]]), np.array([[21.0, 30, 61, 80]])
  found = offsets(edge_n4, face_n4, net)
  if net == "pnet":  # as `Mtcnn._proposals` does, at the scale at which the square is a window
    low, high = (np.array([24, 36]) / 4 + 1) * 4, (np.array([24, 36]) / 4 + 12) * 4
    box_n4 = decode_boxes(np.concatenate([low, high])[None], found)
  else:
    box_n4 = decode_boxes(edge_n4 + np.array([1, 1, 0, 0]), found, inclusive=True)
  np.testing.assert_allclose(box_n4 - [1, 1, 0, 0], face_n4)


def test_mined_squares_keep_faces_and_few_others():
  other = np.array([[80, 80, 92, 92]] * 9 + [[20, 35, 60, 75]], np.int32)
  found = mined_squares(other, PHOTO, "rnet", Sampling(mined=4), np.random.default_rng(0))
  assert found.target_nt[:, 0].tolist() == [NEGATIVE] * 4 + [POSITIVE]
  assert not len(mined_squares(other[:0], PHOTO, "rnet", Sampling(), np.random.default_rng(0)).edge_n4)


@pytest.mark.parametrize("net", ["pnet", "rnet"])
def test_mirrored_targets_are_those_of_the_mirrored_photo(net):
  width = 100
  edge_n4 = np.array([[18, 32, 66, 80], [70, 80, 90, 100]], np.int32)
  mirror = lambda box: np.stack([width - box[:, 2], box[:, 1], width - box[:, 0], box[:, 3]], -1)  # noqa: E731
  flipped = TrainingPhoto("a.jpg", mirror(BOX), POINT[:, [1, 0, 2, 4, 3]] * [-1, 1] + [width, 0])
  for points in (False, True):
    target_nt = label_squares(edge_n4, PHOTO, net, points=points)
    expected = label_squares(mirror(edge_n4), flipped, net, points=points)
    np.testing.assert_allclose(mirror_targets(target_nt, mirror_shift(net, edge_n4[:, 2] - edge_n4[:, 0])), expected, atol=1e-6)


def test_crops_are_mirrored_with_their_targets():
  image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3)), jnp.uint8)
  target = jnp.asarray(np.tile(label_squares(np.array([[18, 32, 66, 80]], np.int32), PHOTO, "rnet"), (8, 1)))
  keys = jax.random.split(jax.random.key(0), 8)
  found, moved = jax.jit(MirrorCrops(24))(image, target, keys)
  flips = [bool((row == each[:, ::-1]).all()) for row, each in zip(found, image)]
  assert 0 < sum(flips) < 8
  for flip, row, each, after in zip(flips, found, image, moved):
    assert flip or (row == each).all()
    np.testing.assert_allclose(after, mirror_targets(target)[0] if flip else target[0], atol=1e-6)


# --- files and order


def some_samples(count=5, side=12):
  draw = np.random.default_rng(1)
  target_nt = draw.random((count, 15)).astype(np.float32)
  target_nt[:, 0] = np.arange(count) % 4
  return draw.integers(0, 256, (count, side, side, 3)).astype(np.uint8), target_nt


def test_samples_are_read_as_written_and_faults_are_named(tmp_path):
  image_nhwc, target_nt = some_samples()
  write_samples(tmp_path / "a", 12, [(image_nhwc[:2], target_nt[:2]), (image_nhwc[2:], target_nt[2:])], {"seed": 1, "parts": (1, 2)})
  source = CropSource(tmp_path / "a", {"seed": 1, "parts": (1, 2)})
  out = np.zeros((3, 12, 12, 3), np.uint8)
  assert source.read(np.array([4, 0, 2]), out) == [] and (out == image_nhwc[[4, 0, 2]]).all()
  assert (source.target_nt == target_nt).all() and source.kind_n.tolist() == [0, 1, 2, 3, 0]
  with pytest.raises(ValueError, match="another seed: 1 then, 2 now"):
    CropSource(tmp_path / "a", {"seed": 2, "parts": (1, 2)})
  with pytest.raises(ValueError, match="needs uint8"):
    write_samples(tmp_path / "b", 24, [(image_nhwc, target_nt)], {})
  assert not (tmp_path / "b").exists()
  content = (tmp_path / "a/targets.f32").read_bytes()
  (tmp_path / "a/targets.f32").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(DamagedData, match="digest differs"):
    CropSource(tmp_path / "a", {"seed": 1, "parts": (1, 2)})
  (tmp_path / "a/targets.f32").write_bytes(content)
  (tmp_path / "a/images.u8").write_bytes(b"short")
  with pytest.raises(DamagedData, match="5 bytes, expected 2,160"):
    CropSource(tmp_path / "a", {"seed": 1, "parts": (1, 2)})


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=20, max_size=60), st.integers(0, 99), st.integers(0, 50), st.integers(1, 60))
def test_batches_have_the_numbers_of_each_kind(kinds, seed, start, length):
  kind_n = np.array([0, 1, 2, 3, *kinds])
  order = KindOrder(kind_n, (3, 1, 1, 2), 14, seed)
  assert order.counts.tolist() == [6, 2, 2, 4]
  record_n = order.rows(0, 14 * 40)[1].reshape(40, 14)
  assert (np.sort(kind_n[record_n], -1) == [0] * 6 + [1] * 2 + [2] * 2 + [3] * 4).all()
  # Each crop of a kind once per epoch of the kind.
  zeros = record_n[:, :6].ravel()
  total = (kind_n == 0).sum()
  assert sorted(zeros[:total]) == np.flatnonzero(kind_n == 0).tolist()
  assert (order.rows(start, start + length)[1] == record_n.ravel()[start : start + length]).all()


def test_orders_without_crops_are_named():
  with pytest.raises(ValueError, match="no crop of kind 3, which should be 2 of 7"):
    KindOrder(np.array([0, 1, 2]), (3, 1, 1, 2), 14)
  assert KindOrder(np.array([0, 1, 2]), (3, 1, 1, 0), 5).counts.tolist() == [3, 1, 1, 0]
  with pytest.raises(ValueError, match="a batch of 2 has no crop"):
    KindOrder(np.array([0, 1, 2, 3]), (3, 1, 1, 2), 2)
  with pytest.raises(ValueError, match="not all 0"):
    KindOrder(np.array([0]), (0, 0, 0, 0), 2)


def test_events_are_held_out_whole():
  photos = [LabelledPhoto(f"{event}--e/{number}.jpg", np.zeros((0, 4)), {}) for event in range(5) for number in range(2)]
  train_photos, held_out = split_events(photos, 3)
  assert {photo.name[0] for photo in held_out} == {"2"} and len(train_photos) == 8
  assert split_events(photos, 0)[0] == photos
  with pytest.raises(ValueError, match="held_out is 1"):
    split_events(photos, 1)


# --- networks


@pytest.mark.parametrize("net", ["pnet", "onet"])
def test_a_trained_network_is_that_of_the_detector(net):
  module, preprocess = crop_network(net)
  image = np.random.default_rng(0).integers(0, 256, (3, *preprocess.size, 3)).astype(np.uint8)
  x_bhwc = preprocess.apply(jnp.asarray(image))

  @jax.jit
  def both(x_bhwc):
    params = module.init(jax.random.key(0), x_bhwc, train=False)["params"]
    return module.apply({"params": params}, x_bhwc, train=True), NETS[net].apply({"params": detector_params(params)}, x_bhwc)

  output_bd, found = both(x_bhwc)
  np.testing.assert_allclose(output_bd[:, :6], jnp.concatenate([found.logit.reshape(3, 2), found.offset.reshape(3, 4)], -1), atol=1e-5)
  if net == "onet":
    np.testing.assert_allclose(output_bd[:, 6:], found.point.reshape(3, 10), atol=1e-5)


# --- the whole training


def photo_with_face(draw, box_4, size=(64, 72)):
  image = draw.integers(0, 120, (*size, 3))
  x0, y0, x1, y1 = np.asarray(box_4, int)
  image[y0:y1, x0:x1] = 200
  return image.astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """Three photos of three events in WIDER FACE's format, and one photo with points."""
  folder, draw = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
  lines, subsets = [], {}
  for event in range(3):
    name = f"{event}--e/p.jpg"
    (folder / "wider" / f"{event}--e").mkdir(parents=True)
    (folder / "wider" / name).write_bytes(encode_jpeg(photo_with_face(draw, [20, 18, 48, 50])))
    lines += [name, "2", "20 18 28 32 0 0 0 0 0 0", "5 5 0 0 0 0 0 0 0 0"]
    subsets[name] = {"easy": [0]}
  (folder / "wider/bbx_gt.txt").write_text("\n".join(lines) + "\n")
  (folder / "wider/subsets.json").write_text(json.dumps(subsets))
  (folder / "faces").mkdir()
  (folder / "faces/f.jpg").write_bytes(encode_jpeg(photo_with_face(draw, [18, 14, 50, 52])))
  point_k2 = np.array([[26.0, 26], [42, 26], [34, 34], [27, 43], [41, 43]])
  (folder / "empty").mkdir()
  (folder / "empty/n.jpg").write_bytes(encode_jpeg(draw.integers(0, 255, (60, 70, 3), np.uint8)))
  write_landmarks(folder / "faces.json", [AnnotatedFace("f.jpg", point_k2, (18.0, 14.0, 50.0, 52.0))])
  return folder


def test_photos_are_read_with_boxes_and_points(sets):
  photos = wider_photos(sets / "wider", 3)
  assert len(photos) == 2  # of three events, the third is held out
  assert photos[0].box_n4.tolist() == [[20, 18, 48, 50]] and np.isnan(photos[0].point_n52).all()
  face, = annotated_photos(sets / "faces", sets / "faces.json", "points", "points")
  assert face.box_n4.tolist() == [[18, 14, 50, 52]] and face.point_n52[0, 0].tolist() == [26.5, 26.5]


def test_photos_without_a_face_give_squares_without_a_face(sets):
  photo, = empty_photos(sets / "empty")
  (_, target_nt), = stage_crops("pnet", [photo], Sampling(anywhere=6), 0)
  assert len(target_nt) == 12 and (target_nt[:, 0] == NEGATIVE).all()
  with pytest.raises(ValueError, match="no photo is in it"):
    (sets / "nothing").mkdir(exist_ok=True)
    empty_photos(sets / "nothing")


def test_crops_show_their_squares(sets):
  photo = wider_photos(sets / "wider", 3)[0]
  (crop_nhwc, target_nt), = stage_crops("pnet", [photo], Sampling(around=6, near=0, anywhere=6), 0)
  face, none = target_nt[:, 0] == POSITIVE, target_nt[:, 0] == NEGATIVE
  assert crop_nhwc.dtype == np.uint8 and crop_nhwc[face, 5:7, 5:7].mean() > 180 > crop_nhwc[none].mean()
  half = len(crop_nhwc) // 2
  assert (crop_nhwc[half:] == crop_nhwc[:half, :, ::-1]).all()


def test_a_stage_is_resumed_bitwise(tmp_path):
  image_nhwc, target_nt = some_samples(20)
  write_samples(tmp_path / "crops", 12, [(image_nhwc, target_nt)], {})
  stage = StageTraining(steps=4, batch_size=14, log_every=1, checkpoint_every=2)
  run = make_stage_run("pnet", CropSource(tmp_path / "crops", {}), MtcnnTraining(pnet=stage, devices=1))
  whole = train_run(run, Workdir(tmp_path / "run"))
  # As if killed after its second step.
  shutil.rmtree(tmp_path / "run/checkpoints/last/4")
  again = train_run(run, Workdir(tmp_path / "run"))
  assert jax.tree.all(jax.tree.map(np.array_equal, whole.variables, again.variables))
  rows = read_metrics(tmp_path / "run")
  assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
  # The objective of the paper: the weighted sum of the three terms.
  parts = [rows[-1][f"{name}/loss"] for name in ("facescore", "boxoffsets", "facepoints")]
  assert rows[-1]["loss"] == pytest.approx(np.dot([1, 0.5, 0.5], parts), rel=1e-4)
  with pytest.raises(ValueError, match="batch_size 14 does not spread over"):
    make_stage_run("pnet", CropSource(tmp_path / "crops", {}), MtcnnTraining(pnet=replace(stage, batch_size=14), devices=4))


@pytest.mark.sweep
def test_an_experiment_trains_resumes_and_detects(sets, tmp_path):
  (tmp_path / "mine.py").write_text(
    '"""Mine."""\nfrom jaxface.detection.crop_sampling import Sampling\nfrom jaxface.detection import DetectorExperiment, FacePhotos\n'
    "from jaxface.detection.mtcnn_training import StageTraining\nTINY = StageTraining(steps=2, batch_size=14, log_every=1, checkpoint_every=1)\n"
    "EXPERIMENT = DetectorExperiment(pnet=TINY, rnet=TINY, onet=TINY, faces=(FacePhotos(),), devices=1,\n"
    "  thresholds=(0.9, 0.9), sampling=Sampling(around=20, near=1, anywhere=4, with_points=20, mined=2))\n"
  )
  given = {
    "photos": str(sets / "wider"), "faces.0.photos": str(sets / "faces"), "faces.0.annotations": str(sets / "faces.json"),
    "no_faces": str(sets / "empty"), "licence": "MIT", "faces.0.licence": "MIT",
  }
  whole = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert "parameters, crops: pnet" in str(whole) and whole.saved.licence == "MIT"
  # As if killed in the training of O-Net: its last state and the detector are missing.
  shutil.rmtree(tmp_path / "run/model")
  shutil.rmtree(tmp_path / "run/onet/checkpoints/last/2")
  again = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert jax.tree.all(jax.tree.map(np.array_equal, whole.saved.params, again.saved.params))
  found = detect([np.zeros((64, 72, 3), np.uint8)], load_detector(tmp_path / "run/model"))
  assert found[0].size == (64, 72)
  with pytest.raises(ValueError, match=r"(?s)other values.*steps"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "onet.steps": 3})
  with pytest.raises(ValueError, match="another sampling"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "sampling.mined": 3})


@pytest.mark.real_data
def test_real_photos_are_split_by_event_and_have_their_points(face_data):
  folder = face_data / "photos"
  photos = wider_photos(folder / "wider_dev", 3)
  held_out = split_events(read_wider(folder / "wider_dev"), 3)[1]
  assert len(photos) + len(held_out) == 183 and len(held_out) == 60
  assert not {photo.name.split("/")[0] for photo in held_out} & {photo.file.split("/")[-2] for photo in photos}
  faces = annotated_photos(folder / "helen_train", folder / "helen_train.json", "points68", "points5")
  assert len(faces) == 775  # 8 photos have no face that a detector found, and so no `points5`
  place = []
  for photo in faces:
    pointed = ~np.isnan(photo.point_n52).any((1, 2))
    for box, point in zip(photo.box_n4[pointed], photo.point_n52[pointed]):
      place.append((point - box[:2]) / (box[2:] - box[:2]))
      assert point[0, 0] < point[1, 0] and point[3, 0] < point[4, 0] and point[:2, 1].mean() < point[3:, 1].mean()
  # Where the points of a face are on average in a detector's box; the nose of a turned face may be outside.
  np.testing.assert_allclose(np.mean(place, 0), [[0.27, 0.36], [0.74, 0.36], [0.5, 0.57], [0.3, 0.76], [0.72, 0.76]], atol=0.03)
