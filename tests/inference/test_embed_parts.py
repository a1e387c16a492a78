"""A set embedded in parts: the same file as in one piece, after an interruption, and by several hosts."""

import numpy as np
import pytest

from jaxface.formats import FolderInUse, read_embeddings
from jaxface.formats.lock import FolderLock
from jaxface.inference import Model, embed_faces, embed_in_parts
from jaxface.inference import embed_parts as module


@pytest.fixture(scope="module")
def model(random_model):
  return Model(random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4))


@pytest.fixture
def faces(make_folder):
  folder = make_folder((3, 2, 4, 2), height=16, width=16)
  (folder / "person01" / "torn.jpg").write_bytes(b"\xff\xd8")
  return folder


def go(model, faces, out, **changes):
  return embed_in_parts(model, faces, out, **{"part_size": 5, "template": "arcface112", "batch_size": 4, **changes})


def check(out, model, faces):
  whole, found = embed_faces(model, faces, template="arcface112", batch_size=4), read_embeddings(out)
  np.testing.assert_allclose(found.embedding_nd, whole.embedding_nd, atol=1e-6)
  assert found.names == whole.names and found.label_n.tolist() == whole.label_n.tolist() and found.meta == whole.meta


@pytest.mark.parametrize("part_size", [1, 5, 12, 100])
def test_the_file_does_not_depend_on_the_parts(model, faces, tmp_path, part_size):
  # One image of a part cannot be read: a part of one image would have none left.
  if part_size == 1:
    (faces / "person01" / "torn.jpg").unlink()
  done = go(model, faces, tmp_path / "e.parquet", part_size=part_size)
  assert done.count == 11 and done.size == 4 and done.files == (tmp_path / "e.parquet",)
  check(tmp_path / "e.parquet", model, faces)
  assert not (tmp_path / "e.parquet.parts").exists()


def test_an_interrupted_call_goes_on_after_the_last_part(model, faces, tmp_path, monkeypatch):
  go(model, faces, tmp_path / "whole.npz")
  real, calls = module.write_embeddings, []

  def stop_at_second(path, embeddings):
    calls.append(path)
    if len(calls) == 2:
      raise KeyboardInterrupt
    real(path, embeddings)

  monkeypatch.setattr(module, "write_embeddings", stop_at_second)
  with pytest.raises(KeyboardInterrupt):
    go(model, faces, tmp_path / "e.npz")
  monkeypatch.undo()
  assert not (tmp_path / "e.npz").exists()
  lines = []
  done = go(model, faces, tmp_path / "e.npz", say=lines.append)
  assert done.computed == 7 and any("1 of 3 parts are there already" in line for line in lines)
  assert any(line.startswith("part 2 of 2: ") and "done at 20" in line for line in lines)
  assert (tmp_path / "e.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_hosts_share_the_parts_and_the_last_one_writes_the_file(model, faces, tmp_path):
  first = go(model, faces, tmp_path / "e.parquet", host=0, hosts=2)
  assert first.missing == (1,) and first.files == () and "1 parts are missing: other hosts" in str(first)
  second = go(model, faces, tmp_path / "e.parquet", host=1, hosts=2)
  assert first.computed + second.computed == 12 and second.count == 11
  check(tmp_path / "e.parquet", model, faces)
  with pytest.raises(FileExistsError, match="remove it to embed again"):
    go(model, faces, tmp_path / "e.parquet")


def test_a_host_does_not_write_what_another_one_is_writing(model, faces, tmp_path):
  go(model, faces, tmp_path / "e.parquet", host=0, hosts=2)
  with FolderLock(tmp_path / "e.parquet.parts"):
    done = go(model, faces, tmp_path / "e.parquet", host=1, hosts=2)
  assert not done.missing and not done.files and "another host writes the file" in str(done)
  with FolderLock(tmp_path / "e.parquet.parts" / "host-0001"), pytest.raises(FolderInUse):
    go(model, faces, tmp_path / "e.parquet", host=1, hosts=2)


def test_parts_of_another_model_or_of_other_images_are_refused(model, random_model, faces, tmp_path):
  go(model, faces, tmp_path / "e.parquet", host=0, hosts=2)
  for changes, words in (({"mirror": "none"}, "mirror"), ({"part_size": 6}, "part_size"), ({"raw": True}, "raw")):
    with pytest.raises(ValueError, match=f"was made with another {words}: remove"):
      go(model, faces, tmp_path / "e.parquet", host=0, hosts=2, **changes)
  (faces / "person00" / "0000.jpg").rename(faces / "person00" / "new.jpg")
  with pytest.raises(ValueError, match="was made with another source"):
    go(model, faces, tmp_path / "e.parquet", host=0, hosts=2)


@pytest.mark.parametrize(("changes", "message"), [
  ({"part_size": 0}, "parts of 0 images"), ({"host": 2, "hosts": 2}, "host 2 of 2"), ({"out": "e.csv"}, "stored in .npz"),
])
def test_wrong_numbers_are_named(model, faces, changes, message):
  with pytest.raises(ValueError, match=message):
    go(model, faces, **{"out": "e.npz", **changes})
