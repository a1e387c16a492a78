"""Embeddings do not depend on batch size or devices; the mirror is added; a wrong template is rejected."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxface.data.folder import FolderSource
from jaxface.data.source import UnreadableRow
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.verification import verify_pairs
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image
from jaxface.formats.pairs import Pairs, read_lfw_pairs
from jaxface.inference.embed import _unit, check_template, embed_source
from jaxface.inference.verify import VerificationHook
from jaxface.interop.onnx_import import import_onnx
from jaxface.models.config import ModelConfig
from jaxface.models.preprocess import Preprocess
from jaxface.models.saved import save_model


class Faces:
  num_records, num_identities, image_shape, template = 21, 3, (18, 18, 3), "arcface112"
  label_n = np.arange(21, dtype=np.int32) // 7

  def __init__(self):
    self.image = np.random.default_rng(0).integers(0, 256, (21, 18, 18, 3), dtype=np.uint8)

  def names(self):
    return [f"face{record}" for record in range(21)]

  def read(self, record_n, out):
    out[:] = self.image[record_n]
    return []


@pytest.fixture(scope="module")
def saved(random_model):
  return random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8)


def test_the_result_does_not_depend_on_the_batch(saved):
  whole = embed_source(saved, Faces(), batch_size=24)
  assert whole.names == Faces().names() and whole.label_n.tolist() == Faces.label_n.tolist()
  np.testing.assert_allclose(np.linalg.norm(whole.embedding_nd, axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(embed_source(saved, Faces(), batch_size=8).embedding_nd, whole.embedding_nd, atol=1e-5)


def test_as_many_devices_are_used_as_asked_for(saved, monkeypatch):
  seen = []
  put = jax.device_put
  monkeypatch.setattr(jax, "device_put", lambda tree, place: seen.append(len(place.device_set)) or put(tree, place))
  alone = embed_source(saved, Faces(), batch_size=8, devices=1)
  assert set(seen) == {1}
  seen.clear()
  np.testing.assert_allclose(embed_source(saved, Faces(), batch_size=8, devices=4).embedding_nd, alone.embedding_nd, atol=1e-5)
  assert set(seen) == {4}
  with pytest.raises(ValueError, match="devices is 9, but this host has 8"):
    embed_source(saved, Faces(), devices=9)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e22, 1e37])
def test_directions_do_not_depend_on_how_large_the_numbers_are(size):
  embedding_bd = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
  embedding_bd[3] = 0
  right = embedding_bd / np.maximum(np.linalg.norm(embedding_bd, axis=1, keepdims=True), 1e-12)
  np.testing.assert_allclose(jax.jit(_unit)(embedding_bd * np.float32(size)), right, rtol=1e-5, atol=1e-7)
  assert np.isnan(jax.jit(_unit)(np.full((1, 8), np.nan, np.float32))).all()


def test_the_mirror_image_has_the_same_embedding_only_if_it_is_added(saved):
  faces, mirrored = Faces(), Faces()
  mirrored.image = faces.image[:, :, ::-1]
  both = [embed_source(saved, source, mirror="sum").embedding_nd for source in (faces, mirrored)]
  np.testing.assert_allclose(both[0], both[1], atol=1e-5)
  alone = [embed_source(saved, source, mirror="none").embedding_nd for source in (faces, mirrored)]
  assert np.abs(alone[0] - alone[1]).max() > 1e-2


def test_raw_keeps_the_lengths_of_the_network(saved):
  raw, unit = (embed_source(saved, Faces(), mirror="none", raw=raw) for raw in (True, False))
  length_n1 = np.linalg.norm(raw.embedding_nd, axis=1, keepdims=True)
  assert np.ptp(length_n1) > 1e-3 and raw.meta["raw"] and not unit.meta["raw"]
  np.testing.assert_allclose(raw.embedding_nd / length_n1, unit.embedding_nd, atol=1e-6)


def test_the_mirror_image_can_be_set_beside_the_image(saved):
  faces, mirrored = Faces(), Faces()
  mirrored.image = faces.image[:, :, ::-1]
  straight, turned = (embed_source(saved, source, mirror="concat").embedding_nd for source in (faces, mirrored))
  assert straight.shape == (21, 16)
  np.testing.assert_allclose(straight, np.roll(turned, 8, axis=1), atol=1e-5)
  alone = embed_source(saved, faces, mirror="none").embedding_nd
  half = straight[:, :8] / np.linalg.norm(straight[:, :8], axis=1, keepdims=True)
  np.testing.assert_allclose(half, alone, atol=1e-5)
  with pytest.raises(ValueError, match="mirror = 'both' is unknown: choose one of sum, concat, none"):
    embed_source(saved, faces, mirror="both")


def test_another_template_is_refused(saved):
  other = replace(saved, preprocess=replace(saved.preprocess, template="lightcnn128"))
  with pytest.raises(ValueError, match="aligned to template 'arcface112', the model takes 'lightcnn128'"):
    embed_source(other, Faces())


@pytest.mark.parametrize(("images", "model", "line"), [
  ("arcface112", "arcface112", None),
  ("unknown", "unknown", None),
  ("unknown", "none", None),
  ("unknown", "arcface112", "takes faces aligned to template 'arcface112'; the alignment of these images is unknown"),
  ("none", "arcface112", "these images are aligned to no template"),
  ("arcface112", "unknown", "images are aligned to template 'arcface112'; the template of the network is unknown"),
])
def test_what_is_not_known_is_said_in_one_line(images, model, line):
  lines = check_template(images, model)
  assert len(lines) == (line is not None) and all(line in said for said in lines)


class Damaged(Faces):
  """Some records cannot be read."""

  def __init__(self, *bad):
    super().__init__()
    self.bad = bad

  def read(self, record_n, out):
    out[:] = self.image[record_n]
    return [
      UnreadableRow(DamagedData("cannot be read: Permission denied", file=f"face{record}.jpg"), row)
      for row, record in enumerate(np.asarray(record_n).tolist()) if record in self.bad
    ]


def test_images_that_cannot_be_read_are_left_out_named_and_counted(saved):
  said = []
  whole = embed_source(saved, Faces(), batch_size=8)
  found = embed_source(saved, Damaged(0, 9, 20), batch_size=8, skip_unreadable=True, say=said.append)
  kept = [record for record in range(21) if record not in (0, 9, 20)]
  assert found.names == [f"face{record}" for record in kept] and found.label_n.tolist() == Faces.label_n[kept].tolist()
  np.testing.assert_allclose(found.embedding_nd, whole.embedding_nd[kept], atol=1e-5)
  assert found.meta["unreadable"] == ["face0", "face9", "face20"] and "unreadable" not in whole.meta
  (line,) = said
  assert line.startswith("3 of 21 images cannot be used and are skipped: face0.jpg: cannot be read: Permission denied; face9")
  said.clear()
  embed_source(saved, Damaged(*range(7)), skip_unreadable=True, say=said.append)
  assert said[0].count("Permission denied") == 5 and said[0].endswith("; and 2 more")


def test_a_folder_of_which_most_cannot_be_read_is_an_error(saved):
  with pytest.raises(DamagedData, match=r"face0\.jpg: cannot be read.* 11 of 21 images cannot be used; this is the first"):
    embed_source(saved, Damaged(*range(11)), skip_unreadable=True)
  assert len(embed_source(saved, Damaged(*range(10)), skip_unreadable=True).names) == 11


def test_without_leave_no_image_is_left_out(saved):
  with pytest.raises(DamagedData, match=r"face9\.jpg: cannot be read"):
    embed_source(saved, Damaged(9), batch_size=8)


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_images(saved, tmp_path, make_jpeg, count):
  """Fewer than there are devices."""
  (tmp_path / "a").mkdir()
  for number in range(count):
    (tmp_path / "a" / f"{number}.jpg").write_bytes(make_jpeg(number))
  found = embed_source(saved, FolderSource(tmp_path, size=(16, 16)))
  assert found.embedding_nd.shape == (count, 8) and found.meta["template"] == "unknown"
  one = embed_source(saved, FolderSource(tmp_path / "a" / "0.jpg", size=(16, 16)))
  assert one.names == ["0"]
  np.testing.assert_allclose(one.embedding_nd[0], found.embedding_nd[0], atol=1e-5)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_pretrained_network_knows_the_people_of_lfw(face_data, pretrained_onnx):
  """One fold of view 2; all ten, 99.27 %, are in `make sweep`."""
  pairs = read_lfw_pairs(face_data / "protocols" / "pairs.txt")
  first = np.flatnonzero(pairs.fold == 0)[::3]
  chosen = replace(pairs, left=[pairs.left[i] for i in first], right=[pairs.right[i] for i in first],
                   same=pairs.same[first], fold=np.arange(len(first)) % 2, line=None)
  people = sorted({*chosen.left, *chosen.right})

  class People(Faces):
    num_records, num_identities, image_shape = len(people), 1, (112, 112, 3)
    label_n = np.zeros(len(people), np.int32)

    def __init__(self):
      files = [face_data / "lfw_aligned112" / f"{name}.jpg" for name in people]
      self.image = np.stack([decode_image(file.read_bytes(), where=str(file)) for file in files])

    def names(self):
      return people

  saved = import_onnx(pretrained_onnx, model="mobilefacenet", preprocess="imagenet")
  embeddings = embed_source(saved, People(), batch_size=64)
  assert verify_pairs(embeddings.embedding_nd, embeddings.names, chosen).accuracy > 0.98


def test_a_hook_made_by_hand_takes_the_convention_of_what_the_run_begins_with(saved, tmp_path):
  mine = Preprocess("mine", (16, 16), mean=(10.0, 20.0, 30.0), std=(40.0,), colour="bgr")
  save_model(tmp_path / "net", replace(saved, preprocess=mine))
  faces = Faces()
  names = faces.names()
  pairs = Pairs(names[:3] + names[3:6], names[1:4] + names[10:13], np.array([True] * 3 + [False] * 3), np.zeros(6, np.int64))
  hook = VerificationHook(VerificationConfig("unseen"), faces, pairs, ModelConfig("iresnet", init_from=str(tmp_path / "net")))
  hook(1, saved.variables)
  expected = embed_source(replace(saved, preprocess=mine), faces)
  assert hook.latest.auc == verify_pairs(expected.embedding_nd, names, pairs).auc
  np.testing.assert_allclose(hook.latest.score_p, verify_pairs(expected.embedding_nd, names, pairs).score_p, atol=1e-6)
  other = verify_pairs(embed_source(saved, faces).embedding_nd, names, pairs)
  assert np.abs(hook.latest.score_p - other.score_p).max() > 1e-3
