"""Commands for functions of `jaxface.evaluation`: all pairs, two models, search, toy sets, InsightFace's .bin."""

import json

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import (
  PROTOCOLS,
  compare,
  compare_embeddings,
  evaluate,
  evaluate_all_pairs,
  measure_threshold,
  search_files,
)
from jaxface.formats import Embeddings, read_embeddings, write_embeddings
from tfrecords_tools.__main__ import main as tools


def faces(seed, people=8, images=4, noise=0.6):
  rng = np.random.default_rng(seed)
  label_n = np.repeat(np.arange(people), images)
  embedding_nd = np.random.default_rng(99).normal(size=(people, 12))[label_n] + noise * rng.normal(size=(len(label_n), 12))
  return Embeddings(embedding_nd.astype(np.float32), [f"p{label}/{seed}_{row}" for row, label in enumerate(label_n)], label_n)


def test_all_pairs_from_the_command_line(tmp_path, capsys):
  write_embeddings(tmp_path / "e.npz", faces(0))
  assert main(["evaluate", "--all-pairs", "--embeddings", str(tmp_path / "e.npz"), "--far", "0.1", "0.02", "--json", str(tmp_path / "j.json")]) == 0
  figures = json.loads((tmp_path / "j.json").read_text())
  assert (figures["mated"], figures["nonmated"]) == (48, 448)
  for far, found in zip((0.1, 0.02), figures["tar_at_far"], strict=True):
    point, _ = measure_threshold(faces(0), None, far)
    assert (found["tar"], found["value"], tuple(found["interval"])) == (point.tar, point.value, point.interval)
    assert tuple(found["tar_interval_at_threshold"]) == point.tar_interval != tuple(found["tar_interval"])
  out, err = capsys.readouterr()
  assert "8 identities" in out and "rule of 30" in err
  assert len(evaluate_all_pairs(faces(0)).points) == 1  # 448 pairs do not tell 1e-3 from 0
  with pytest.raises(SystemExit):
    main(["evaluate", "--pairs", "p", "--embeddings", "e", "--far", "0.1"])


def test_two_models_from_the_command_line(tmp_path, capsys):
  assert tools(["toy", "pairs", str(tmp_path / "toy")]) == 0
  lists = next((tmp_path / "toy" / "lists").iterdir())
  one = read_embeddings(tmp_path / "toy" / "embeddings.npz")
  noise_nd = np.random.default_rng(0).normal(size=one.embedding_nd.shape).astype(np.float32)
  write_embeddings(tmp_path / "other.npz", Embeddings(one.embedding_nd + noise_nd, one.names))
  line = ["evaluate", "--pairs", str(lists), "--embeddings", str(tmp_path / "toy" / "embeddings.npz"), "--compare", str(tmp_path / "other.npz")]
  assert main([*line, "--json", str(tmp_path / "c.json")]) == 0
  found, figures = compare_embeddings(tmp_path / "toy" / "embeddings.npz", tmp_path / "other.npz", lists), json.loads((tmp_path / "c.json").read_text())
  by_hand = compare(*(evaluate(file, lists).verification for file in (tmp_path / "toy" / "embeddings.npz", tmp_path / "other.npz")))
  assert found.differences == by_hand
  assert figures["differences"]["accuracy"]["value"] == by_hand["accuracy"].value == figures["second"]["accuracy"] - figures["first"]["accuracy"]
  assert "second − first" in capsys.readouterr().out


def test_search_from_the_command_line(tmp_path, capsys):
  gallery, probes = faces(0), faces(1, noise=1.5)
  write_embeddings(tmp_path / "g.npz", gallery)
  write_embeddings(tmp_path / "p.npz", probes)
  assert main(["search", str(tmp_path / "g.npz"), str(tmp_path / "p.npz"), "--top", "3", "--json", str(tmp_path / "s.json")]) == 0
  found = json.loads((tmp_path / "s.json").read_text())
  a, b = (one.embedding_nd / np.linalg.norm(one.embedding_nd, axis=1, keepdims=True) for one in (probes, gallery))
  order = np.argsort(-(a @ b.T), axis=1)
  for name, row_k, search in zip(probes.names, order, found["searches"], strict=True):
    assert search["probe"] == name and [one["name"] for one in search["nearest"]] == [gallery.names[row] for row in row_k[:3]]
  first = np.mean([gallery.label_n[row_k[0]] == label for row_k, label in zip(order, probes.label_n)])
  assert found["rank"]["1"] == pytest.approx(first) and found["mated"] == len(probes.names)
  assert "have a mate in the gallery" in capsys.readouterr().out
  plain = Embeddings(gallery.embedding_nd, [str(row) for row in range(len(gallery.names))])
  assert "rank" not in search_files(plain, probes, top=10**6).figures
  assert found["notes"] == [] and "find themselves" in search_files(gallery, gallery, top=1).notes[0]
  with pytest.raises(ValueError, match="top is 0"):
    search_files(gallery, probes, top=0)


def test_every_protocol_has_a_toy_set_and_a_bin_is_unpacked(tmp_path, capsys):
  with pytest.raises(SystemExit):
    tools(["toy", "--help"])
  text = "".join(capsys.readouterr().out.split())
  assert all(name in text for name in PROTOCOLS)
  assert tools(["toy", "bin", str(tmp_path / "toy")]) == 0
  assert "jaxface evaluate --protocol bin" in capsys.readouterr().out
  file = next((tmp_path / "toy" / "lists").glob("*.bin"))
  assert tools(["unpack_bin", str(file), str(tmp_path / "out")]) == 0
  images = list((tmp_path / "out" / "images").iterdir())
  assert f"{len(images):,} images, {len(images) // 2:,} pairs" in capsys.readouterr().out
