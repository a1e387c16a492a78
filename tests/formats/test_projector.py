"""TensorBoard's own projector reads what is written: its configuration, vectors, names and sprite image."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import EnvironBuilder, run_wsgi_app

from jaxface.formats import Embeddings, write_projector
from jaxface.formats.projector import PICTURE


def embeddings(count: int) -> Embeddings:
  rng = np.random.default_rng(0)
  return Embeddings(rng.normal(size=(count, 5)).astype(np.float32), [f"p{row % 3}/tab\there{row}" for row in range(count)])


def colour(row: int) -> np.ndarray:
  return np.full((20, 30, 3), 10 * row, np.uint8)


def ask(serve, path: str, **query) -> bytes:
  body, status, _ = run_wsgi_app(serve, EnvironBuilder(path=path, query_string={"run": ".", **query}).get_environ())
  assert status.startswith("200"), status
  return b"".join(body)


def test_tensorboard_reads_the_folder(tmp_path):
  from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

  given = embeddings(7)
  assert write_projector(tmp_path / "p", given, lambda row: None if row == 6 else colour(row)) == 7
  plugin = ProjectorPlugin(SimpleNamespace(logdir=str(tmp_path / "p"), data_provider=None, multiplexer=None))
  serve = plugin.get_plugin_apps()
  config = json.loads(ask(serve["/info"], "/info"))["embeddings"][0]
  assert (config["tensorName"], config["metadataPath"], config["sprite"]["singleImageDim"]) == ("jaxface", "metadata.tsv", [PICTURE, PICTURE])
  assert config["tensorShape"] == [7, 5]
  vectors = np.frombuffer(ask(serve["/tensor"], "/tensor", name="jaxface"), np.float32).reshape(7, 5)
  np.testing.assert_allclose(vectors, given.embedding_nd, rtol=1e-5)
  lines = ask(serve["/metadata"], "/metadata", name="jaxface").decode().rstrip("\n").split("\n")
  assert lines[0] == "name\tidentity" and lines[2] == "p1/tab here1\tp1" and len(lines) == 8
  (tmp_path / "s.png").write_bytes(ask(serve["/sprite_image"], "/sprite_image", name="jaxface"))
  with Image.open(tmp_path / "s.png") as sprite:
    assert sprite.size == (3 * PICTURE, 3 * PICTURE)
    for row, right in ((0, 0), (2, 20), (5, 50), (6, 128)):  # in reading order; one that cannot be read is grey
      assert sprite.getpixel((row % 3 * PICTURE + 9, row // 3 * PICTURE + 9)) == (right, right, right)


def test_of_many_rows_some_are_taken_over_the_whole_range(tmp_path):
  assert write_projector(tmp_path / "p", embeddings(100), most=10) == 10
  names = [line.split("\t")[0] for line in (tmp_path / "p" / "metadata.tsv").read_text().splitlines()[1:]]
  assert names == [f"p{row % 3}/tab here{row}" for row in range(0, 100, 11)]
  assert not (tmp_path / "p" / "sprite.png").exists() and "sprite" not in (tmp_path / "p" / "projector_config.pbtxt").read_text()


def test_what_cannot_be_shown_is_named(tmp_path):
  wrong = embeddings(3)
  wrong.embedding_nd[1, 2] = np.nan
  with pytest.raises(ValueError, match="'p1/tab\\\\there1' is not finite"):
    write_projector(tmp_path / "p", wrong)
  with pytest.raises(ValueError, match="at least one"):
    write_projector(tmp_path / "p", embeddings(0))
  with pytest.raises(ValueError, match="do not fit a sprite image: at most 28,900"):
    write_projector(tmp_path / "p", embeddings(30_000), colour, most=30_000)
  assert not list(tmp_path.iterdir())
  (tmp_path / "p").mkdir()
  (tmp_path / "p" / "mine").touch()
  with pytest.raises(FileExistsError):
    write_projector(tmp_path / "p", embeddings(3))
