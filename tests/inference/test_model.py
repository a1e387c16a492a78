"""A loaded model: the same embeddings from arrays, paths, folders and records, inside and outside of jit."""

import jax
import numpy as np
import pytest

import jaxface
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.formats.packing import pack
from jaxface.models.saved import save_model


@pytest.fixture(scope="module")
def model(random_model, tmp_path_factory):
  folder = tmp_path_factory.mktemp("models") / "net"
  save_model(folder, random_model("iresnet", units=(1, 0, 0, 0), width=0.125, embedding_size=8))
  return jaxface.load(folder)


def test_what_it_is_can_be_read_on_it(model):
  assert (model.name, model.input_size, model.template, model.dtype) == ("iresnet", (16, 16), "arcface112", "float32")
  assert model.embedding_size == 8 and model.licence == "unknown" and model.meta == {"source": "a test"}
  assert model.num_parameters == sum(leaf.size for leaf in jax.tree.leaves(model.saved.variables["params"]))
  assert "iresnet" in repr(model) and "16x16" in repr(model)


def test_every_kind_of_source_gives_the_same_embeddings(model, make_folder, tmp_path):
  folder = make_folder((3, 2), height=16, width=16)
  paths = sorted(folder.rglob("*.jpg"))
  image_nhwc = np.stack([decode_image(path.read_bytes(), where="") for path in paths])
  pack(str(folder), tmp_path / "packed", template="arcface112")
  right_nd = np.asarray(model(image_nhwc))
  np.testing.assert_allclose(np.linalg.norm(right_nd, axis=1), 1, rtol=1e-5)
  for source in (folder, str(folder), paths, list(map(str, paths)), image_nhwc):
    np.testing.assert_allclose(model.embed(source), right_nd, atol=1e-5)
  np.testing.assert_allclose(model.embed(paths[1]), right_nd[1:2], atol=1e-5)
  np.testing.assert_allclose(model.embed(image_nhwc, batch_size=2), right_nd, atol=1e-5)
  np.testing.assert_allclose(model(image_nhwc[0]), right_nd[0], atol=1e-5)
  np.testing.assert_allclose(jax.jit(model)(image_nhwc), right_nd, atol=1e-5)
  named = model.embed_named(folder)
  assert named.names == [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
  assert named.meta["template"] == "unknown"  # the model's own is no fact about the folder
  packed = model.embed_named(tmp_path / "packed")
  row_of = {name: row for row, name in enumerate(named.names)}
  np.testing.assert_allclose(packed.embedding_nd, right_nd[[row_of[name] for name in packed.names]], atol=1e-5)
  np.testing.assert_array_equal(model.embed(tmp_path / "packed"), packed.embedding_nd)


def test_arrays_and_paths_are_spread_over_all_devices(model, tmp_path, monkeypatch):
  image_nhwc = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
  (tmp_path / "one.jpg").write_bytes(encode_jpeg(image_nhwc[0]))
  right_nd = np.asarray(model(image_nhwc))
  seen = []
  put = jax.device_put
  monkeypatch.setattr(jax, "device_put", lambda tree, place: seen.append((len(place.device_set), np.shape(tree))) or put(tree, place))
  np.testing.assert_allclose(model.embed(image_nhwc, batch_size=6), right_nd, atol=1e-5)
  assert model.embed([tmp_path / "one.jpg"]).shape == (1, 8)
  batches = [place for place in seen if place[1]]
  assert batches == [(8, (8, 16, 16, 3))] * 3
  assert {devices for devices, _ in seen} == {8}


def test_files_of_several_sizes_keep_their_order(model, tmp_path):
  rng = np.random.default_rng(0)
  images = [rng.integers(0, 256, (16 + 2 * (i % 3), 18, 3), dtype=np.uint8) for i in range(8)]
  paths = [tmp_path / f"{i}.jpg" for i in range(8)]
  for path, image in zip(paths, images):
    path.write_bytes(encode_jpeg(image))
  right_nd = np.stack([model(decode_image(path.read_bytes(), where="")) for path in paths])
  np.testing.assert_allclose(model.embed(paths, batch_size=2), right_nd, atol=1e-5)


def test_mirror_and_raw_reach_the_network(model):
  image_bhwc = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
  alone, mirrored = (np.asarray(model(x, mirror="none", raw=True)) for x in (image_bhwc, image_bhwc[:, :, ::-1]))
  np.testing.assert_allclose(model(image_bhwc, raw=True), alone + mirrored, atol=1e-5)
  np.testing.assert_allclose(model.embed(image_bhwc, mirror="concat", raw=True), np.concatenate([alone, mirrored], 1), atol=1e-5)


def test_what_cannot_be_embedded_is_named(model, tmp_path):
  with pytest.raises(ValueError, match="cannot embed dict: expected a folder"):
    model.embed({})
  with pytest.raises(ValueError, match=r"shape \(16, 16\): expected \[B, H, W, C\]"):
    model(np.zeros((16, 16), np.uint8))
  with pytest.raises(ValueError, match="no images"):
    model.embed([])
  with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
    model.embed(tmp_path / "missing.jpg")
  (tmp_path / "bad.jpg").write_bytes(b"no image")
  with pytest.raises(DamagedData, match=r"bad\.jpg"):
    model.embed([tmp_path / "bad.jpg"])
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    jaxface.load(tmp_path)


def test_a_folder_embedded_twice_compiles_once(model, make_folder):
  folder = make_folder((2,), height=16, width=16)
  first = model.embed(folder)
  compiled = model._embedder("sum", False)._cache_size()
  np.testing.assert_array_equal(model.embed(folder), first)
  assert model._embedder("sum", False)._cache_size() == compiled > 0
