"""Scores of videos by frames: against loops, by hand, with a verifier, and on the official list of pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.commands.main import main
from jaxface.evaluation import POOLING, evaluate, make_toy
from jaxface.evaluation.pairs.videos import FrameRule, Videos, frames_of, random_frame_pairs, video_scores
from jaxface.evaluation.protocols.ytf import read_ytf
from jaxface.formats import DamagedData, Embeddings, read_embeddings
from jaxface.verifiers import L2


def made(seed=0, count=3, size=4):
  """Three videos of two to five frames, in mixed order."""
  rng = np.random.default_rng(seed)
  names = [f"P{video}/0/{frame}" for video in range(count) for frame in range(int(rng.integers(2, 6)))]
  names = [names[row] for row in rng.permutation(len(names))]
  return names, rng.normal(size=(len(names), size)) + 0.3


def videos_of(names, embedding_nd):
  return Videos(frames_of(names), names, embedding_nd)


def slow(names, embedding_nd, left, right, pooling, score):
  """The definitions, one pair of frames at a time."""
  a, b = ([embedding_nd[names.index(name)] for name in sorted(names) if name.startswith(f"{video}/")] for video in (left, right))
  if pooling == "pooled":
    return score(np.mean(a, 0), np.mean(b, 0))
  if pooling == "top":
    best = [sorted(frames, key=lambda frame: -np.linalg.norm(frame))[:2] for frames in (a, b)]
    return score(np.mean(best[0], 0), np.mean(best[1], 0))
  if pooling == "random":
    row_p, column_p = random_frame_pairs(left, right, len(a), len(b), count=7, seed=3)
    return np.mean([score(a[row], b[column]) for row, column in zip(row_p, column_p)])
  every = [score(one, other) for one in a for other in b]
  return max(every) if pooling == "max" else np.mean(every)


def minus_distance(one, other):
  return -np.linalg.norm(one - other)


@pytest.mark.parametrize("pooling", POOLING)
@given(seed=st.integers(0, 1000))
def test_scores_of_a_verifier_are_those_of_a_loop(pooling, seed):
  names, embedding_nd = made(seed)
  rule = FrameRule(count=2 if pooling == "top" else 7, seed=3)
  found = video_scores(
    videos_of(names, embedding_nd), ["P0/0", "P1/0"], ["P1/0", "P2/0"], pooling, rule=rule,
    score=lambda a, b: -np.sqrt(((a - b) ** 2).sum(1)),
  )
  right = [slow(names, embedding_nd, a, b, pooling, minus_distance) for a, b in (("P0/0", "P1/0"), ("P1/0", "P2/0"))]
  np.testing.assert_allclose(found, right, rtol=1e-12)


@pytest.mark.parametrize("pooling", POOLING)
def test_without_a_verifier_it_is_the_cosine_of_frames_at_length_one(pooling):
  names, embedding_nd = made(5)
  unit_nd = embedding_nd / np.linalg.norm(embedding_nd, axis=1, keepdims=True)
  quality = {name: float(np.linalg.norm(row)) for name, row in zip(names, embedding_nd)}
  rule = FrameRule(2 if pooling == "top" else 7, 3, quality)

  def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)

  found = video_scores(videos_of(names, embedding_nd), ["P0/0"], ["P2/0"], pooling, rule=rule)
  if pooling == "top":
    best = [sorted((name for name in names if name.startswith(f"{video}/")), key=lambda name: -quality[name])[:2] for video in ("P0/0", "P2/0")]
    right = cosine(*[np.mean([unit_nd[names.index(name)] for name in of], 0) for of in best])
  else:
    right = slow(names, unit_nd, "P0/0", "P2/0", pooling, cosine)
  np.testing.assert_allclose(found, [right], rtol=1e-12)


def test_by_hand():
  names = ["A/0/1", "A/0/2", "B/0/1"]
  videos = videos_of(names, np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]]))
  assert video_scores(videos, ["A/0"], ["B/0"], "mean") == pytest.approx([0.7])  # (0.6 + 0.8) / 2
  assert video_scores(videos, ["A/0"], ["B/0"], "max") == pytest.approx([0.8])
  assert video_scores(videos, ["A/0"], ["B/0"], "pooled") == pytest.approx([1.4 / np.sqrt(2)])
  assert video_scores(videos, ["A/0"], ["B/0"], "top", rule=FrameRule(1)) == pytest.approx([0.6])  # the frame of length two
  better = FrameRule(1, quality={"A/0/1.jpg": 0.1, "A/0/2.jpg": 0.9, "B/0/1.jpg": 0.5})
  assert video_scores(videos, ["A/0"], ["B/0"], "top", rule=better) == pytest.approx([0.8])
  drawn = video_scores(videos, ["A/0"] * 2, ["B/0"] * 2, "random", rule=FrameRule(1))
  assert drawn[0] == drawn[1] and min(abs(drawn[0] - 0.6), abs(drawn[0] - 0.8)) < 1e-12


def test_many_random_pairs_come_near_the_mean_of_all():
  names, embedding_nd = made(7)
  videos = videos_of(names, embedding_nd)
  all_of, drawn = (video_scores(videos, ["P0/0"], ["P1/0"], pooling, rule=FrameRule(20_000)) for pooling in ("mean", "random"))
  assert abs(all_of - drawn).max() < 0.02
  other = video_scores(videos, ["P0/0"], ["P1/0"], "random", rule=FrameRule(20_000, seed=1))
  assert other != drawn


@pytest.mark.parametrize("pooling", POOLING)
def test_the_order_of_the_frames_and_of_the_list_does_not_matter(pooling):
  names, embedding_nd = made(8)
  order = np.random.default_rng(0).permutation(len(names))
  first = video_scores(videos_of(names, embedding_nd), ["P0/0", "P1/0"], ["P1/0", "P2/0"], pooling)
  again = video_scores(videos_of([names[row] for row in order], embedding_nd[order]), ["P1/0", "P0/0"], ["P2/0", "P1/0"], pooling)
  assert first.tolist() == again[::-1].tolist()


def test_what_is_wrong_is_named(tmp_path):
  names, embedding_nd = made()
  videos = videos_of(names, embedding_nd)
  with pytest.raises(ValueError, match="pooling = 'best' is unknown"):
    video_scores(videos, ["P0/0"], ["P1/0"], "best")
  with pytest.raises(ValueError, match=r"frame 'P0/0/\d' has no quality"):
    video_scores(videos, ["P0/0"], ["P1/0"], "top", rule=FrameRule(quality={"other": 1.0}))
  with pytest.raises(ValueError, match="has a quality that is not finite"):
    video_scores(videos, ["P0/0"], ["P1/0"], "top", rule=FrameRule(quality=dict.fromkeys(names, np.nan)))
  with pytest.raises(ValueError, match="must not be negative"):
    FrameRule(seed=-1)
  lists = make_toy("ytf", tmp_path / "toy")
  with pytest.raises(ValueError, match="ytf-random and ytf-top, not to 'ytf'"):
    evaluate(tmp_path / "toy" / "embeddings.npz", lists, protocol="ytf", frames=FrameRule(3))
  (tmp_path / "q.csv").write_text("frame,quality\na,high\n")
  with pytest.raises((ValueError, DamagedData), match="text"):
    FrameRule.read(tmp_path / "q.csv")


def test_the_command_takes_count_seed_and_quality(tmp_path, capsys):
  lists = make_toy("ytf", tmp_path / "toy")
  file = tmp_path / "toy" / "embeddings.npz"
  given_ = read_embeddings(file)
  (tmp_path / "q.csv").write_text("frame,quality\n" + "".join(f"{name},{row}\n" for row, name in enumerate(given_.names)))
  common = ["evaluate", "--embeddings", str(file), "--pairs", str(lists)]
  assert main([*common, "--protocol", "ytf-top", "--frame-count", "2", "--frame-quality", str(tmp_path / "q.csv"), "--json", str(tmp_path / "f.json")]) == 0
  assert "length of their embedding" not in capsys.readouterr().err
  found = evaluate(file, lists, protocol="ytf-top", frames=FrameRule(2, quality={name: float(row) for row, name in enumerate(given_.names)}))
  assert found.figures["frames"] == 2 and f'"accuracy": {found.figures["accuracy"]}' in (tmp_path / "f.json").read_text()
  assert main([*common, "--protocol", "ytf-random", "--frame-seed", "4", "--json", str(tmp_path / "r.json")]) == 0
  assert '"frame_seed": 4' in (tmp_path / "r.json").read_text() and '"frames": 50' in (tmp_path / "r.json").read_text()
  with pytest.raises(SystemExit):
    main([*common, "--protocol", "ytf", "--frame-count", "2"])
  assert "ytf-random or ytf-top" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ytf", "ytf-max", "ytf-pooled", "ytf-random", "ytf-top"])
def test_a_fitted_verifier_scores_videos(name, tmp_path):
  lists = make_toy("ytf", tmp_path / "toy")
  given_ = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  verifier = L2.fit(given_.embedding_nd, components=5)
  found = evaluate(given_, lists, protocol=name, score=verifier)
  pairs = found.pairs
  videos = videos_of(given_.names, given_.embedding_nd)
  right = video_scores(videos, pairs.left, pairs.right, found.figures["pooling"], score=verifier.score)
  np.testing.assert_allclose(found.score_p, right)
  assert found.figures["score"] == "l2, 5 components" and found.figures["accuracy"] > 0.7


@pytest.mark.real_data
def test_the_official_list_with_made_frames_of_its_people(face_data):
  """Frames are a person's direction with noise: every rule separates the people of the official pairs."""
  rng = np.random.default_rng(0)
  for pooling in ("mean", "random", "top"):
    rules = read_ytf(face_data / "protocols" / "ytf_splits.txt", pooling)
    person = {name: rng.normal(size=16) for name in sorted({video.split("/")[0] for video in rules.images})}
    names = [f"{video}/{frame}" for video in rules.images for frame in range(3)]
    embedding_nd = np.stack([person[name.split("/")[0]] + rng.normal(size=16) for name in names])
    found = rules.evaluate(Embeddings(embedding_nd.astype(np.float32), names))
    assert found.figures["pairs"] == 5000 and found.figures["accuracy"] > 0.9 and found.figures["pooling"] == pooling
