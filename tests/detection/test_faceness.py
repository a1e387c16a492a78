"""Faceness: part networks patch by patch, the score of windows against loops, regions, patches and their parts, and the detector."""

import json
import shutil

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.alignment.mean_shape import MEAN_SHAPE_68
from jaxface.alignment.points import means_matrix
from jaxface.detection import (
  Faceness,
  FacenessConfig,
  FacenessTraining,
  SavedDetector,
  detect,
  iou,
  load_detector,
  write_detector,
)
from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.ddfd_net import HeatMapNet
from jaxface.detection.detector_data import annotated_photos
from jaxface.detection.faceness_score import (
  GRID,
  LEAST,
  WINDOW,
  candidate_regions,
  faceness_map,
  fit_regions,
  regions_of,
)
from jaxface.detection.faceness_training import PartTraining
from jaxface.detection.mtcnn_training import StageTraining
from jaxface.detection.part_nets import PARTS, PATCH, STRIDE, PartNets, part_maps
from jaxface.detection.part_sampling import (
  FACE_SHARE,
  PatchSampling,
  draw_face_windows,
  draw_patches,
  part_boxes,
  part_kinds,
  patch_crops,
)
from jaxface.formats.images import encode_jpeg
from jaxface.losses.detection import NEGATIVE, POSITIVE
from jaxface.pipeline.api import train

NETS = PartNets((2, 3, 2))
MEAN = np.array(MEAN_SHAPE_68)
REGIONS = ((0, 0, 2, 9), (2, 1, 4, 8), (4, 3, 6, 6), (6, 2, 8, 7), (7, 2, 9, 7))


def some_params(seed=0):
  """Random parameters of which logits differ from patch to patch."""
  draw = np.random.default_rng(seed)
  shapes = jax.eval_shape(lambda: NETS.init(jax.random.key(0), np.zeros((1, PATCH, PATCH, 3), np.float32)))["params"]
  return jax.tree.map(lambda leaf: draw.normal(0, 1.6 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1, leaf.shape).astype(np.float32), shapes)


def slow_partness(params, patch_hwc):
  """Probability of one part in one patch by loops."""
  x = (patch_hwc.astype(np.float64) - 127.5) / 128
  for number in range(1, 5):
    kernel, bias = params[f"conv{number}"]["kernel"], params[f"conv{number}"]["bias"]
    side, rows, columns = len(kernel), x.shape[0] - len(kernel) + 1, x.shape[1] - len(kernel) + 1
    x = np.array([[np.tensordot(x[row : row + side, column : column + side], kernel, 3) + bias for column in range(columns)] for row in range(rows)])
    x = np.maximum(x, 0) if number < 4 else x
    if number < 3:
      x = np.array([[x[row : row + 2, column : column + 2].max((0, 1)) for column in range(0, x.shape[1], 2)] for row in range(0, x.shape[0], 2)])
  return 1 / (1 + np.exp(-x.item()))


# --- part networks


@pytest.mark.parametrize("strip", [64, 3])
def test_part_maps_equal_the_networks_patch_by_patch(strip):
  params, image_bhwc = some_params(), np.random.default_rng(1).integers(0, 256, (2, 45, 52, 3)).astype(np.float32)
  got = np.asarray(part_maps(NETS, params, image_bhwc, strip))
  assert got.shape == (2, 8, 10, 5) and got.dtype == np.uint8 and np.ptp(got, (0, 1, 2)).min() > 10
  for row, column in ((0, 0), (7, 9), (3, 4)):
    patch_hwc = image_bhwc[1, STRIDE * row : STRIDE * row + PATCH, STRIDE * column : STRIDE * column + PATCH]
    for part, name in enumerate(PARTS):
      assert got[1, row, column, part] == pytest.approx(255 * slow_partness(params[name], patch_hwc), abs=0.51)


# --- the score


def slow_faceness(map_rcp, row, column, regions):
  shares = []
  for part, (top, left, bottom, right) in enumerate(regions):
    window = map_rcp[row : row + GRID, column : column + GRID, part].astype(np.int64)
    shares.append(window[top:bottom, left:right].sum() / (window.sum() + LEAST))
  return np.mean(shares)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_the_faceness_of_each_window_equals_a_loop(seed):
  map_brcp = np.random.default_rng(seed).integers(0, 256, (2, 12, 14, 5), np.uint8)
  got = np.asarray(faceness_map(map_brcp, REGIONS))
  assert got.shape == (2, 4, 6)
  for photo, row, column in np.ndindex(*got.shape):
    assert got[photo, row, column] == pytest.approx(slow_faceness(map_brcp[photo], row, column, REGIONS), abs=1e-6)


def test_faceness_is_0_without_a_response_and_1_at_most():
  assert not np.asarray(faceness_map(np.zeros((1, 9, 9, 5), np.uint8), REGIONS)).any()
  full = np.zeros((1, 9, 9, 5), np.uint8)
  for part, (top, left, bottom, right) in enumerate(REGIONS):
    full[0, top:bottom, left:right, part] = 255
  assert 0.9 < np.asarray(faceness_map(full, REGIONS)).item() < 1


def test_regions_are_found_where_the_responses_of_faces_are():
  draw = np.random.default_rng(2)
  map_nrcp, face_n = draw.integers(0, 200, (1500, GRID, GRID, 5), np.uint8), np.arange(1500) % 3 == 0
  for part, (top, left, bottom, right) in enumerate(REGIONS):
    map_nrcp[face_n, top:bottom, left:right, part] += 30
  regions, area_p = fit_regions(map_nrcp, face_n)
  for region, planted in zip(regions, REGIONS):
    patches, wanted = ({(row, column) for row in range(top, bottom) for column in range(left, right)} for top, left, bottom, right in (region, planted))
    assert len(patches & wanted) > 0.7 * len(patches | wanted)
  assert (area_p > 0.75).all()
  # Faces and others alike: the area is that of counted pairs, near one half.
  map_nrcp = draw.integers(0, 256, (40, GRID, GRID, 5), np.uint8)
  face_n = np.arange(40) < 15
  regions, area_p = fit_regions(map_nrcp, face_n)
  top, left, bottom, right = regions[3]
  share_n = map_nrcp[:, top:bottom, left:right, 3].sum((1, 2)) / (map_nrcp[..., 3].sum((1, 2)) + LEAST)
  pairs = [(one > other) + 0.5 * (one == other) for one in share_n[face_n] for other in share_n[~face_n]]
  assert area_p[3] == pytest.approx(np.mean(pairs)) and 0.5 < area_p[3] < 0.95


def test_candidate_regions_are_symmetric_and_inside():
  regions = candidate_regions()
  assert len(set(regions)) == len(regions) == 36 * 4
  for top, left, bottom, right in regions:
    assert top >= 0 and top + 2 <= bottom <= GRID and left >= 0 and left + 2 <= right == GRID - left


# --- patches and windows


def test_parts_lie_where_the_points_of_the_mean_face_are_and_do_not_overlap():
  box_p4 = part_boxes()
  assert (np.triu(iou(box_p4, box_p4), 1) == 0).all()
  five = means_matrix(68, 5) @ MEAN
  assert part_kinds(five, five).tolist() == [1 + PARTS.index(name) for name in ("eyes", "eyes", "nose", "mouth", "mouth")]
  assert part_kinds(np.array([MEAN[27] - (0, 30), MEAN[8] - (0, 5), MEAN[2], MEAN[8] + (0, 30)]), five).tolist() == [1, 5, 0, 0]


@settings(max_examples=8, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(0.3, 4), st.integers(0, 1000))
def test_parts_move_with_the_points(angle, scale, seed):
  point_n2 = np.random.default_rng(seed).uniform(-20, 140, (30, 2))
  five = means_matrix(68, 5) @ MEAN
  turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  np.testing.assert_array_equal(part_kinds(point_n2 @ turn.T + 7, five @ turn.T + 7), part_kinds(point_n2, five))


def photo_of(points=True, box=(40.0, 30.0, 120.0, 130.0)):
  """A photo with a face in its mean shape, as large as a detector's box, and a face without points."""
  five = means_matrix(68, 5) @ MEAN * 0.9 + (30, 25)
  box_n4 = np.array([box, (180.0, 20.0, 230.0, 80.0)])
  return TrainingPhoto("a.jpg", box_n4, np.stack([five if points else np.full((5, 2), np.nan), np.full((5, 2), np.nan)]))


def test_patches_have_the_part_in_their_middle():
  photo, counts = photo_of(), PatchSampling(each=8, beside=30, anywhere=40)
  edge_n4, kind_n = draw_patches(photo, (200, 260), counts, np.random.default_rng(0))
  assert edge_n4.min() >= 0 and (edge_n4[:, 2] <= 260).all() and (edge_n4[:, 3] <= 200).all()
  assert (edge_n4[:, 2] - edge_n4[:, 0] == edge_n4[:, 3] - edge_n4[:, 1]).all()
  assert (np.bincount(kind_n, minlength=6)[1:] >= 5).all() and (kind_n == 0).sum() > 30
  middle_n2, side_n = (edge_n4[:, :2] + edge_n4[:, 2:]) / 2, edge_n4[:, 2] - edge_n4[:, 0]
  place_n2 = (middle_n2 - (30, 25)) / 0.9  # in the mean face
  face = np.sqrt(80 * 100)
  for place, side, kind in zip(place_n2, side_n, kind_n):
    box = part_boxes()
    holds = [part + 1 for part in range(5) if (box[part, :2] <= place).all() and (place <= box[part, 2:]).all()]
    alike = abs(np.log(side / (face * PATCH / WINDOW / FACE_SHARE))) < 0.35
    assert kind == (holds[0] if holds and alike else 0)
  # None about the face without points.
  assert not ((middle_n2 >= (180, 20)) & (middle_n2 <= (230, 80))).all(-1).any()
  assert set(draw_patches(photo_of(points=False), (200, 260), counts, np.random.default_rng(0))[1]) == {0}


def test_windows_are_faces_if_their_middle_overlaps_one_by_more_than_half():
  photo = photo_of()
  edge_n4, face_n = draw_face_windows(photo, (200, 260), PatchSampling(windows=30, others=30), np.random.default_rng(1))
  assert edge_n4.min() >= 0 and (edge_n4[:, 2] <= 260).all() and (edge_n4[:, 3] <= 200).all() and 5 < face_n.sum() < len(face_n) - 5
  middle_n2, half_n1 = (edge_n4[:, :2] + edge_n4[:, 2:]) / 2, FACE_SHARE / 2 * (edge_n4[:, 2:3] - edge_n4[:, :1])
  overlap_n = iou(np.concatenate([middle_n2 - half_n1, middle_n2 + half_n1], -1), photo.box_n4).max(-1)
  clear = np.abs(overlap_n - 0.5) > 0.03  # sides are rounded
  np.testing.assert_array_equal(face_n[clear], overlap_n[clear] > 0.5)


# --- the detector

COLOURS = np.array([(230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20), (20, 230, 230)])


def colour_params():
  """Networks of which each responds to patches whose middle has its colour."""
  shapes = jax.eval_shape(lambda: NETS.init(jax.random.key(0), np.zeros((1, PATCH, PATCH, 3), np.float32)))["params"]
  params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
  for layers, colour in zip((params[part] for part in PARTS), COLOURS):
    direction = (colour - 127.5) / np.linalg.norm(colour - 127.5)
    layers["conv1"]["kernel"][1, 1, :, 0] = direction
    layers["conv1"]["bias"][0] = -0.9 * np.linalg.norm(colour - 127.5) / 128
    layers["conv2"]["kernel"][1, 1, 0, 0] = layers["conv3"]["kernel"][0, 0, 0, 0] = 1
    layers["conv4"]["kernel"][0, 0, 0, 0], layers["conv4"]["bias"][0] = 100, -5
  return params


def coloured_face(image, x0, y0, side):
  """Paints a face whose parts have colours: a square as large as a detector's box, with hair above it."""
  bands = ((-0.2, 0.25), (0.3, 0.45), (0.45, 0.65), (0.68, 0.82), (0.84, 1.1))
  for (top, bottom), colour in zip(bands, COLOURS):
    image[max(0, round(y0 + top * side)) : round(y0 + bottom * side), round(x0 + 0.2 * side) : round(x0 + 0.8 * side)] = colour
  return image


def coloured_photo():
  """Two faces of different sizes, and one upside down."""
  image = coloured_face(coloured_face(np.full((200, 260, 3), 128, np.uint8), 30, 40, 40), 110, 60, 80)
  image[140:196, 20:70] = coloured_face(np.full((56, 50, 3), 128, np.uint8), 5, 10, 40)[::-1]
  return image


FACES = np.array([[30, 40, 70, 80], [110, 60, 190, 140]])
WRONG = np.array([[25, 146, 65, 186]])
PLACES = np.array([(0, 2, 4, 7), (3, 2, 5, 7), (5, 2, 7, 7), (6, 2, 8, 7), (7, 2, 9, 7)], np.int32)


def test_windows_whose_parts_are_in_their_places_are_ranked_first():
  detector = Faceness({"parts": colour_params(), "regions": PLACES}, FacenessConfig(smallest=36, factor=0.8, faceness=0.1, spread=0.3))
  found = detect([coloured_photo()], detector)[0]
  assert sorted(iou(found.box_n4[:2], FACES).argmax(-1).tolist()) == [0, 1] and (iou(found.box_n4[:2], FACES).max(-1) > 0.5).all()
  upside_down = found.score_n[iou(found.box_n4, WRONG)[:, 0] > 0.4].max(initial=0)
  assert found.score_n[1] > 1.3 * upside_down
  few = detect([coloured_photo()], Faceness(detector.params, FacenessConfig(smallest=36, factor=0.8, faceness=0.1, spread=0.3, proposals=1)))[0]
  np.testing.assert_array_equal(few.box_n4, found.box_n4[:1])


def judge_params(bias):
  """A network that gives every square the same six numbers."""
  net = HeatMapNet(40, (1, 1, 1, 1, 1), 2, outputs=6)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((1, 40, 40, 3), np.float32)))["params"]
  params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
  params["fc8"]["bias"] = np.array(bias, np.float32)
  return params


def test_the_second_network_scores_and_corrects_the_boxes(tmp_path):
  params = {"parts": colour_params(), "regions": PLACES, "judge": judge_params([0, 1, 0.1, 0, 0, 0.25])}
  write_detector(tmp_path / "model", SavedDetector("faceness", {}, params))
  shared = {"smallest": 36, "factor": 0.8, "faceness": 0.1, "spread": 0.3, "proposals": 2}
  first = detect([coloured_photo()], Faceness({name: params[name] for name in ("parts", "regions")}, FacenessConfig(**shared)))[0]
  found = detect([coloured_photo()], load_detector(tmp_path / "model", **shared, overlap=1.0))[0]
  np.testing.assert_allclose(found.score_n, np.exp(1) / (1 + np.exp(1)), rtol=1e-5)
  side_n2 = first.box_n4[:, 2:] - first.box_n4[:, :2]
  assert (side_n2[:, 0] == side_n2[:, 1]).all() and (first.box_n4 == np.rint(first.box_n4)).all()
  np.testing.assert_allclose(found.box_n4, first.box_n4 + side_n2[:, :1] * np.array([0.1, 0, 0, 0.25]), atol=1e-3)
  assert not len(detect([coloured_photo()], load_detector(tmp_path / "model", **shared, threshold=0.9))[0])
  assert not len(detect([np.zeros((30, 30, 3), np.uint8)], load_detector(tmp_path / "model", **shared))[0])


# --- training


@pytest.mark.sweep
def test_an_experiment_trains_resumes_and_detects(tmp_path):
  draw = np.random.default_rng(3)
  lines, subsets, faces = [], {}, []
  for number in range(6):
    side, x, y = (int(value) for value in (draw.integers(40, 60), draw.integers(30, 60), draw.integers(30, 40)))
    image = coloured_face(draw.integers(90, 160, (150, 160, 3)).astype(np.uint8), x, y, side)
    name = f"{number % 3}--e/p{number}.jpg"
    for folder in ("wider", "faces"):
      (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
      (tmp_path / folder / name).write_bytes(encode_jpeg(image, quality=95))
    lines += [name, "1", f"{x} {y} {side} {side} 0 0 0 0 0 0"]
    subsets[name] = {"easy": [0]}
    points = [(x + a * side, y + b * side) for a, b in ((0.3, 0.37), (0.7, 0.37), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75))]
    faces.append({"file": name, "faces": [{"box": [x, y, x + side, y + side], "points5": points}]})
  (tmp_path / "wider/bbx_gt.txt").write_text("\n".join(lines) + "\n")
  (tmp_path / "wider/subsets.json").write_text(json.dumps(subsets))
  (tmp_path / "empty").mkdir()
  (tmp_path / "empty/n.jpg").write_bytes(encode_jpeg(draw.integers(0, 255, (120, 130, 3), np.uint8)))
  (tmp_path / "faces.json").write_text(json.dumps(faces))
  (tmp_path / "mine.py").write_text(
    '"""Mine."""\nfrom jaxface.data import AugmentConfig\nfrom jaxface.detection import FacenessConfig, FacenessExperiment, FacePhotos\n'
    "from jaxface.detection.crop_sampling import Sampling\nfrom jaxface.detection.faceness_training import PartTraining\n"
    "from jaxface.detection.mtcnn_training import StageTraining\nfrom jaxface.detection.part_sampling import PatchSampling\n"
    f"FACES = FacePhotos({str(tmp_path / 'faces')!r}, {str(tmp_path / 'faces.json')!r}, points='points5', boxes='points5')\n"
    "EXPERIMENT = FacenessExperiment(side=40, width=0.06, dense=24, dropout=0.1, devices=1, faces=(FACES,),\n"
    "  augment=AugmentConfig(mirror=0, shift=0, jitter=0), patches=PatchSampling(each=12, beside=20, anywhere=40, windows=10, others=20),\n"
    "  sampling=Sampling(around=40, near=10, anywhere=20, with_points=0), proposals=FacenessConfig(smallest=36, faceness=0.05),\n"
    "  parts=PartTraining(steps=80, batch_size=80, learning_rate=4e-3, ema=0.9, log_every=10, checkpoint_every=40),\n"
    "  judge=StageTraining(steps=160, batch_size=50, learning_rate=4e-3, ema=0.9, shares=(3, 1, 1, 0), log_every=20, checkpoint_every=80))\n"
  )
  given = {"photos": str(tmp_path / "wider"), "held_out": 0, "no_faces": str(tmp_path / "empty"), "licence": "MIT"}
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert "crops: patches" in str(result) and result.saved.licence.startswith("MIT")
  assert min(result.saved.meta["regions_auc"].values()) > 0.8
  photo = coloured_face(draw.integers(90, 160, (150, 160, 3)).astype(np.uint8), 40, 42, 50)
  found = detect([photo], load_detector(tmp_path / "run/model", smallest=36, faceness=0.05))[0]
  assert iou(found.box_n4[:1], np.array([[40, 42, 90, 92]]))[0, 0] > 0.5
  # As if killed after the 80th step of the second network.
  shutil.rmtree(tmp_path / "run/model")
  shutil.rmtree(tmp_path / "run/judge/checkpoints/last/160")
  again = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert jax.tree.all(jax.tree.map(np.array_equal, result.saved.params, again.saved.params))
  with pytest.raises(ValueError, match="another propose_every"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "propose_every": 1})


def test_mistakes_are_named(tmp_path, monkeypatch):
  for wrong, text in (({"smallest": 2}, "smallest is 2"), ({"factor": 1}, "factor is 1"), ({"threshold": 2}, "threshold is 2"),
                      ({"proposals": 0}, "proposals is 0"), ({"faceness": -1}, "faceness is -1"), ({"spread": 3}, "spread is 3")):
    with pytest.raises(ValueError, match=text):
      FacenessConfig(**wrong)
  for wrong, text in (({"side": 50}, "window is 50"), ({"propose_every": 0}, "propose_every"), ({"judge": StageTraining()}, "the network has no points")):
    with pytest.raises(ValueError, match=text):
      FacenessTraining(**wrong)
  with pytest.raises(ValueError, match="needs 6 numbers: no part, hair, eyes"):
    PartTraining(shares=(1, 1))
  regions = np.array(REGIONS)
  with pytest.raises(ValueError, match="the parameters have eyes: needs hair, eyes, nose, mouth, beard"):
    Faceness({"parts": {"eyes": {}}, "regions": regions})
  params = some_params()
  params["nose"]["conv2"]["bias"] = np.zeros(9, np.float32)
  with pytest.raises(ValueError, match=r"nose/conv2/bias has the shape \(9,\), should have \(3,\)"):
    Faceness({"parts": params, "regions": regions})
  for array, text in ((regions[:2], r"\(2, 4\)"), (regions + 8, "in 0..9"), (regions * 1.0, "float64")):
    with pytest.raises(ValueError, match=text):
      regions_of(array)
  with pytest.raises(ValueError, match="0 windows with a face and 3 without"):
    fit_regions(np.zeros((3, GRID, GRID, 5), np.uint8), np.zeros(3, bool))
  with pytest.raises(ValueError, match="fc8/bias"):
    Faceness({"parts": some_params(), "regions": regions, "judge": {**judge_params(np.zeros(6)), "fc8": {"kernel": np.zeros((1, 1, 2, 2)), "bias": np.zeros(2)}}})
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  with pytest.raises(FileNotFoundError, match="`jaxface train faceness --workdir DIR` trains them"):
    load_detector("faceness")


@pytest.mark.real_data
def test_patches_of_real_faces_show_all_parts(face_data):
  photos = annotated_photos(face_data / "photos/helen_train", face_data / "photos/helen_train.json", "points68", "points5")[:4]
  counts = PatchSampling(each=6, beside=10, anywhere=10, windows=6, others=10)
  crop_nhwc, target_nt = (np.concatenate(arrays) for arrays in zip(*patch_crops(photos, counts, 0, "patches")))
  assert crop_nhwc.shape[1:] == (PATCH, PATCH, 3) and (np.bincount(target_nt[:, 0].astype(int), minlength=6) >= 8).all()
  window_nhwc, kind_nt = (np.concatenate(arrays) for arrays in zip(*patch_crops(photos, counts, 0, "windows")))
  assert window_nhwc.shape[1:] == (WINDOW, WINDOW, 3) and {NEGATIVE, POSITIVE} == set(kind_nt[:, 0].tolist())
  # Eyes are darker than the skin beside the nose: the labels are where the parts are.
  grey = crop_nhwc[:, 6:10, 6:10].mean((1, 2, 3))
  assert grey[target_nt[:, 0] == 1 + PARTS.index("eyes")].mean() < grey[target_nt[:, 0] == 1 + PARTS.index("nose")].mean()
