"""DDFD: its network against loops, heat maps against single windows, windows and their labels, and its training."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.detection import (
  Ddfd,
  DdfdConfig,
  DdfdTraining,
  SavedDetector,
  detect,
  iou,
  load_detector,
  nms,
  nms_average,
  read_detector,
  write_detector,
)
from jaxface.detection.cell_pyramid import cell_canvases, draw_levels
from jaxface.detection.crop_sampling import TrainingPhoto
from jaxface.detection.ddfd_net import STRIDE, HeatMapNet, WindowNet, heat_map, scaled_channels
from jaxface.detection.detector_data import empty_photos, training_pixels, wider_photos
from jaxface.detection.mtcnn_nets import normalise
from jaxface.detection.window_sampling import WindowSampling, draw_windows, resampled, window_crops
from jaxface.formats.images import encode_jpeg
from jaxface.losses.detection import NEGATIVE, POSITIVE, FaceScore
from jaxface.pipeline.api import train
from jaxface.training import read_metrics

WINDOW, CHANNELS, DENSE = 48, (2, 3, 4, 3, 2), 5
NET = HeatMapNet(WINDOW, CHANNELS, DENSE)


def some_params(net=NET, seed=0):
  """Random parameters of which scores differ from window to window."""
  draw = np.random.default_rng(seed)
  shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((1, net.window, net.window, 3), np.float32)))["params"]
  return jax.tree.map(lambda leaf: draw.normal(0, 1.6 / np.sqrt(np.prod(leaf.shape[:-1])) if leaf.ndim > 1 else 0.1, leaf.shape).astype(np.float32), shapes)


def slow_score(params, window_hwc):
  """Probability of a face in one window by loops, whose last three layers are dense."""
  x = (window_hwc.astype(np.float64) - 127.5) / 128
  for number in range(1, 6):
    kernel, bias = params[f"conv{number}"]["kernel"], params[f"conv{number}"]["bias"]
    side, rows, columns = len(kernel), x.shape[0] - len(kernel) + 1, x.shape[1] - len(kernel) + 1
    found = np.zeros((rows, columns, len(bias)))
    for row in range(rows):
      for column in range(columns):
        found[row, column] = np.tensordot(x[row : row + side, column : column + side], kernel, 3) + bias
    x = np.maximum(found, 0)
    if number in (1, 2, 5):
      x = np.array([[x[row : row + 2, column : column + 2].max((0, 1)) for column in range(0, x.shape[1], 2)] for row in range(0, x.shape[0], 2)])
  x = x.ravel()
  for name in ("fc6", "fc7", "fc8"):
    x = x @ params[name]["kernel"].reshape(len(x), -1) + params[name]["bias"]
    x = x if name == "fc8" else np.maximum(x, 0)
  return np.exp(x[1]) / np.exp(x).sum()


def windows_of(image_hwc, window=WINDOW):
  """All windows at the network's stride: [rows, columns, window, window, 3]."""
  view = np.lib.stride_tricks.sliding_window_view(image_hwc, (window, window), (0, 1))[::STRIDE, ::STRIDE]
  return np.moveaxis(view, 2, -1)


# --- heat maps


@pytest.mark.parametrize("strip", [64, 2])
def test_the_heat_map_equals_the_network_window_by_window(strip):
  params, image_bhwc = some_params(), np.random.default_rng(1).integers(0, 256, (2, 93, 85, 3)).astype(np.float32)
  got = np.asarray(heat_map(NET, params, image_bhwc, strip))
  assert got.shape == (2, 6, 5)
  for image_hwc, map_rc in zip(image_bhwc, got):
    window_n = windows_of(image_hwc).reshape(-1, WINDOW, WINDOW, 3)
    np.testing.assert_allclose(map_rc.ravel(), np.asarray(heat_map(NET, params, window_n)).ravel(), atol=1e-5)
  assert np.ptp(got) > 0.02
  for row, column in ((0, 0), (5, 2)):
    assert got[1, row, column] == pytest.approx(slow_score(params, windows_of(image_bhwc[1])[row, column]), abs=1e-5)


def test_the_detector_scores_the_windows_that_it_is_trained_on():
  detector = Ddfd({"net": some_params()}, DdfdConfig(smallest=48, factor=0.5, threshold=0))
  photo = np.random.default_rng(2).integers(0, 256, (120, 109, 3), np.uint8)
  image_bhwc = np.zeros((2, 128, 112, 3), np.uint8)
  image_bhwc[0, :120, :109] = photo
  canvases, maps = detector.canvases(128, 112), detector.heat_maps(image_bhwc, np.array([[120, 109], [0, 0]]))
  boxes, scores = [], []
  for canvas, score_bk in zip(canvases, maps):
    inside_k = canvas.inside(120, 109)
    assert (np.isfinite(score_bk[0]) == inside_k).all() and (score_bk[1] == -np.inf).all()
    boxes.append(canvas.boxes(np.flatnonzero(inside_k)))
    scores.append(score_bk[0][inside_k])
  box_n4, score_n = np.concatenate(boxes), np.concatenate(scores)
  assert {48, 96} == set((box_n4[:, 2] - box_n4[:, 0]).tolist())
  crop_nhwc = resampled(photo.astype(np.float32), box_n4.astype(np.int32), WINDOW)
  np.testing.assert_allclose(score_n, np.asarray(heat_map(NET, detector.params["net"], crop_nhwc)).ravel(), atol=5e-3)  # crops are rounded


def test_windows_are_resampled_as_levels_are():
  photo_hwc = np.random.default_rng(3).uniform(0, 255, (70, 91, 3)).astype(np.float32)
  for smallest in (24, 60):  # enlarged and reduced
    canvas = cell_canvases(72, 96, window=WINDOW, cell=STRIDE, smallest=smallest, factor=0.4)[0]
    drawn_hwc, (top, left) = draw_levels(photo_hwc, canvas), canvas.place_l4[0, :2] + STRIDE
    step = int(STRIDE / canvas.scales[0] + 0.5) if smallest == 24 else 10
    edge_n4 = np.array([[0, 0, smallest, smallest], [step, 0, step + smallest, smallest]], np.int32)
    for edge_4, got in zip(edge_n4, resampled(photo_hwc, edge_n4, WINDOW)):
      x, y = left + round(edge_4[0] * canvas.scales[0]), top + round(edge_4[1] * canvas.scales[0])
      np.testing.assert_allclose(got, drawn_hwc[y : y + WINDOW, x : x + WINDOW], atol=0.6)


def test_suppression_by_maximum_and_by_average():
  photo = np.random.default_rng(4).integers(0, 256, (90, 100, 3), np.uint8)
  shared = {"smallest": 40, "factor": 0.7, "threshold": 0}
  params = {"net": some_params()}
  every = detect([photo], Ddfd(params, DdfdConfig(**shared, overlap=1.0)))[0]
  assert len(every) > 20
  best = detect([photo], Ddfd(params, DdfdConfig(**shared, overlap=0.2)))[0]
  kept = nms(every.box_n4, every.score_n, 0.2)
  np.testing.assert_allclose(best.box_n4, every.box_n4[kept])
  mean = detect([photo], Ddfd(params, DdfdConfig(**shared, suppression="average", overlap=0.6, share=0.99)))[0]
  index, box_m4 = nms_average(every.box_n4, every.score_n, 0.6, share=0.99)
  np.testing.assert_allclose(mean.box_n4, box_m4, atol=1e-3)
  np.testing.assert_allclose(mean.score_n, every.score_n[index])
  assert 1 < len(mean) < len(every) and mean.point_n52 is None


# --- windows


def overlap_by_pixels(a, b):
  both = sum(a[0] <= x < a[2] and a[1] <= y < a[3] for x in range(b[0], b[2]) for y in range(b[1], b[3]))
  return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_windows_are_faces_if_they_overlap_one_by_more_than_half(seed):
  box_n4 = np.array([[20, 30, 60, 80], [55, 10, 85, 44], [5, 5, 12, 12]])
  photo = TrainingPhoto("a.jpg", box_n4.astype(float), np.full((3, 5, 2), np.nan))
  found = draw_windows(photo, (100, 90), WindowSampling(around=6, near=4, anywhere=6), np.random.default_rng(seed))
  assert found.edge_n4.min() >= 0 and found.edge_n4[:, 2].max() <= 90 and found.edge_n4[:, 3].max() <= 100
  for edge, target in zip(found.edge_n4.tolist(), found.target_nt):
    assert edge[2] - edge[0] == edge[3] - edge[1]
    face = max(overlap_by_pixels(edge, box) for box in box_n4.tolist()) > 0.5
    assert target[0] == (POSITIVE if face else NEGATIVE) and not target[1:].any()
  assert {NEGATIVE, POSITIVE} == set(found.target_nt[:, 0].tolist())


# --- training


def photo_with_square(draw, box_4, size):
  """A bright square with a dark middle, in noise."""
  image = draw.integers(0, 110, (*size, 3))
  x0, y0, x1, y1 = box_4
  image[y0:y1, x0:x1] = 220
  third = (x1 - x0) // 3
  image[y0 + third : y1 - third, x0 + third : x1 - third] = 40
  return image.astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
  """Three photos of three events in WIDER FACE's format, and one without a face."""
  folder, draw = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
  lines, subsets = [], {}
  for event, (x, y, side) in enumerate([(20, 18, 40), (36, 10, 52), (8, 30, 44)]):
    name = f"{event}--e/p.jpg"
    (folder / "wider" / f"{event}--e").mkdir(parents=True)
    (folder / "wider" / name).write_bytes(encode_jpeg(photo_with_square(draw, [x, y, x + side, y + side], (100, 110))))
    lines += [name, "1", f"{x} {y} {side} {side} 0 0 0 0 0 0"]
    subsets[name] = {"easy": [0]}
  (folder / "wider/bbx_gt.txt").write_text("\n".join(lines) + "\n")
  (folder / "wider/subsets.json").write_text(json.dumps(subsets))
  (folder / "empty").mkdir()
  (folder / "empty/n.jpg").write_bytes(encode_jpeg(draw.integers(0, 255, (90, 100, 3), np.uint8)))
  return folder


TINY = HeatMapNet(40, scaled_channels(0.06), 24, dropout=0.0)


def check_square(folder):
  """A detector of a folder finds the square of a new photo, by both kinds of suppression."""
  photo = photo_with_square(np.random.default_rng(5), [30, 22, 78, 70], (100, 110))
  for kind, overlap in (("maximum", 0.3), ("average", 0.6)):
    found = detect([photo], load_detector(folder, smallest=40, suppression=kind, overlap=overlap))[0]
    assert iou(found.box_n4[:1], np.array([[30, 22, 78, 70]]))[0, 0] > 0.5


def test_a_network_that_learned_squares_finds_them_where_they_are(sets, tmp_path):
  photos = wider_photos(sets / "wider", 0) + empty_photos(sets / "empty")
  parts = list(window_crops(photos, WindowSampling(around=60, near=30, anywhere=30), 0, TINY.window))
  crop_nhwc, target_nt = (np.concatenate(arrays) for arrays in zip(*parts))
  module, term, optimizer = WindowNet(TINY), FaceScore(hardest=1.0), optax.adam(4e-3)

  @jax.jit
  def step(params, state, crop_bhwc, target_bt):
    def loss_of(params):
      score_b2 = module.apply({"params": {"net": params}}, normalise(crop_bhwc), train=True)
      return term({}, {"embedding_bd": score_b2, "target_bt": target_bt, "weight_b": np.ones(32, np.float32)}, state={}, step=0, key=None)[0].mean()

    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, loss

  params, draw, losses = some_params(TINY), np.random.default_rng(6), []
  state = optimizer.init(params)
  faces, others = (np.flatnonzero(target_nt[:, 0] == kind) for kind in (POSITIVE, NEGATIVE))
  for _ in range(80):
    rows = np.concatenate([draw.choice(faces, 8), draw.choice(others, 24)])
    params, state, loss = step(params, state, crop_nhwc[rows], target_nt[rows])
    losses.append(float(loss))
  assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
  write_detector(tmp_path / "model", SavedDetector("ddfd", {}, {"net": params}))
  loaded = load_detector(tmp_path / "model")
  assert loaded.net == HeatMapNet(40, scaled_channels(0.06), 24) and not loaded.points
  jax.tree.map(np.testing.assert_array_equal, loaded.params["net"], jax.tree.map(np.asarray, params))
  check_square(tmp_path / "model")


@pytest.mark.sweep
def test_an_experiment_trains_resumes_and_detects(sets, tmp_path):
  (tmp_path / "mine.py").write_text(
    '"""Mine."""\nfrom jaxface.data import AugmentConfig\nfrom jaxface.detection import DdfdExperiment\n'
    "from jaxface.detection.window_sampling import WindowSampling\n"
    "EXPERIMENT = DdfdExperiment(window=40, width=0.06, dense=24, steps=60, batch_size=32, devices=1, log_every=10, checkpoint_every=30,\n"
    "  learning_rate=4e-3, ema=0.9, dropout=0.1, augment=AugmentConfig(mirror=0, shift=0, jitter=0),\n"
    "  sampling=WindowSampling(around=60, near=30, anywhere=30))\n"
  )
  given = {"photos": str(sets / "wider"), "held_out": 0, "no_faces": str(sets / "empty"), "licence": "MIT"}
  result = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  assert "crops: face " in str(result) and result.saved.licence == "MIT"
  rows = [row for row in read_metrics(tmp_path / "run/net") if "loss" in row]
  assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
  check_square(tmp_path / "run/model")
  # As if killed after its 30th step.
  shutil.rmtree(tmp_path / "run/model")
  shutil.rmtree(tmp_path / "run/net/checkpoints/last/60")
  again = train(tmp_path / "mine.py", tmp_path / "run", overrides=given)
  for one in (again.saved, read_detector(tmp_path / "run/model")):
    assert jax.tree.all(jax.tree.map(np.array_equal, result.saved.params, one.params))
  with pytest.raises(ValueError, match="another sampling"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "sampling.near": 3})
  with pytest.raises(ValueError, match=r"(?s)other values.*dropout"):
    train(tmp_path / "mine.py", tmp_path / "run", overrides={**given, "dropout": 0.2})


def test_mistakes_are_named(tmp_path, monkeypatch):
  for wrong, text in (({"smallest": 2}, "smallest is 2"), ({"factor": 1}, "factor is 1"), ({"threshold": 2}, "threshold is 2"),
                      ({"suppression": "soft"}, "suppression is 'soft': takes average, maximum"), ({"overlap": -1}, "overlap is -1")):
    with pytest.raises(ValueError, match=text):
      DdfdConfig(**wrong)
  for wrong, text in (({"window": 50}, "window is 50, should be a multiple of 8, at least 40"), ({"faces_share": 1.0}, "faces_share"),
                      ({"width": 0.0}, "width")):
    with pytest.raises(ValueError, match=text):
      DdfdTraining(**wrong)
  with pytest.raises(ValueError, match="the parameters have conv1: the network has conv1 to conv5"):
    Ddfd({"net": {"conv1": {"kernel": np.zeros((5, 5, 3, 2))}}})
  params = some_params()
  params["fc7"]["kernel"] = np.zeros((1, 1, DENSE, 7), np.float32)
  with pytest.raises(ValueError, match=r"fc7/kernel has the shape \(1, 1, 5, 7\), should have \(1, 1, 5, 5\)"):
    Ddfd({"net": params})
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv("JAXFACE_DETECTOR", raising=False)
  with pytest.raises(FileNotFoundError, match="`jaxface train ddfd --workdir DIR` trains them"):
    load_detector("ddfd")


@pytest.mark.real_data
def test_the_heat_map_of_a_real_photo_equals_its_windows(face_data):
  photo = next(each for each in wider_photos(face_data / "photos/wider_dev", 3) if (each.box_n4[:, 2:] - each.box_n4[:, :2]).min(-1).max() > 60)
  (crop_nhwc, target_nt), = window_crops([photo], WindowSampling(around=5, near=5, anywhere=5), 0, WINDOW)
  assert {NEGATIVE, POSITIVE} == set(target_nt[:, 0].tolist()) and crop_nhwc.shape[1:] == (WINDOW, WINDOW, 3)
  part_hwc = training_pixels(photo)[:200, :264].astype(np.float32)
  params, window_rc = some_params(), windows_of(part_hwc)
  map_rc = np.asarray(heat_map(NET, params, part_hwc[None]))[0]
  single_n = heat_map(NET, params, window_rc.reshape(-1, WINDOW, WINDOW, 3))
  assert map_rc.shape == window_rc.shape[:2] and np.ptp(map_rc) > 0.02
  np.testing.assert_allclose(map_rc.ravel(), np.asarray(single_n).ravel(), atol=1e-5)
