"""Model directories: whole, validated, and refused when they are of another network."""

import json
from dataclasses import replace

import chex
import jax
import numpy as np
import pytest

from jaxface.checkpoint import WrongCheckpoint
from jaxface.formats.checked_json import read_checked_json
from jaxface.models.description import DamagedModel, describe_model
from jaxface.models.saved import SavedModel, load_model, save_model

OPTIONS = {"units": [1, 1, 0, 0], "width": 0.0625, "embedding_size": 8}


@pytest.fixture(scope="module")
def saved(random_model) -> SavedModel:
  return random_model("iresnet", **OPTIONS)


@pytest.fixture
def folder(saved, tmp_path):
  save_model(tmp_path / "net", saved)
  return tmp_path / "net"


def test_round_trip_gives_the_same_embeddings(saved, folder):
  again = load_model(folder)
  chex.assert_trees_all_equal(again.variables, saved.variables)
  assert (again.name, again.options, again.preprocess, again.meta) == (
    saved.name,
    saved.options,
    saved.preprocess,
    saved.meta,
  )
  image_bhwc = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype(np.uint8)
  chex.assert_trees_all_equal(
    jax.jit(saved.embed)(saved.variables, image_bhwc), jax.jit(again.embed)(again.variables, image_bhwc)
  )
  assert again.embedding_size == 8
  assert sorted(p.name for p in folder.parent.iterdir()) == ["net"]
  plain = read_checked_json(folder / "model.json")
  assert plain["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(saved.variables["params"]))
  assert plain["preprocess"]["template"] == "arcface112"


def test_an_older_model_is_replaced_but_no_other_folder(saved, folder, tmp_path):
  newer = SavedModel(saved.name, saved.options, saved.preprocess, saved.variables, {"source": "newer"})
  save_model(folder, newer)
  assert load_model(folder).meta == {"source": "newer"}
  assert [p.name for p in tmp_path.iterdir()] == ["net"]
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "me.jpg").write_bytes(b"precious")
  with pytest.raises(FileExistsError, match="photos"):
    save_model(tmp_path / "photos", saved)
  assert (tmp_path / "photos" / "me.jpg").read_bytes() == b"precious"


def test_a_workdir_is_read_through_its_subfolder(saved, tmp_path):
  save_model(tmp_path / "model", saved)
  assert load_model(tmp_path).name == "iresnet"
  with pytest.raises(FileNotFoundError, match=r"model\.json"):
    load_model(tmp_path / "nowhere")


def test_another_variant_names_the_first_differing_leaf_with_both_shapes(folder):
  plain = read_checked_json(folder / "model.json")
  plain["options"]["width"] = 0.125
  (folder / "model.json").write_text(json.dumps(plain))
  with pytest.raises(WrongCheckpoint) as error:
    load_model(folder)
  for word in ("batch_stats/head_norm/mean", "[8]", "[16]", "iresnet"):
    assert word in str(error.value)


def test_wrong_variables_are_not_saved(saved, tmp_path):
  wrong = SavedModel("iresnet", {**OPTIONS, "embedding_size": 9}, saved.preprocess, saved.variables)
  with pytest.raises(WrongCheckpoint, match="embedding_norm"):
    save_model(tmp_path / "net", wrong)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda plain: "{", ["not JSON"]),
    (lambda plain: "[]", ["list"]),
    (lambda plain: json.dumps({**plain, "format_version": 9}), ["format_version 9", "2 and 3"]),
    (lambda plain: json.dumps({**plain, "model": 3}), ["'model' is 3", "str"]),
    (lambda plain: json.dumps({**plain, "model": "iresnet_18"}), ["'iresnet_18'", "'iresnet18'"]),
    (lambda plain: json.dumps({**plain, "options": {"wdth": 1}}), ["'wdth'", "'width'"]),
    (lambda plain: json.dumps({**plain, "preprocess": {"name": "unit"}}), ["preprocess", "template"]),
  ],
)
def test_a_damaged_description_names_the_entry(folder, change, words):
  plain = read_checked_json(folder / "model.json")
  (folder / "model.json").write_text(change(plain))
  with pytest.raises(DamagedModel) as error:
    load_model(folder)
  for word in ["model.json", *words]:
    assert word in str(error.value)


def test_no_flipped_bit_of_a_description_loads_in_silence(folder, flip_all):
  expected = describe_model(folder)
  flip_all(folder / "model.json", lambda: describe_model(folder), expected, DamagedModel)


def test_a_description_without_a_checksum_is_read_with_a_note(folder, saved, caplog):
  (folder / "model.json").write_text(json.dumps(read_checked_json(folder / "model.json")))
  assert load_model(folder).meta == saved.meta
  assert "model.json has no checksum" in caplog.text


def flipped(file, place):
  content = bytearray(file.read_bytes())
  content[place % len(content)] ^= 1
  return bytes(content)


def test_damaged_variables_are_named_and_saved_anew(folder, saved):
  (variables,) = folder.glob("variables-*")
  file = max((path for path in variables.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
  file.write_bytes(flipped(file, 1000))
  with pytest.raises(DamagedModel, match=rf"{file.name}: its bytes are not those that were written.*copy the model again"):
    load_model(folder)
  save_model(folder, saved)
  chex.assert_trees_all_equal(load_model(folder).variables, saved.variables)


def test_variables_of_an_earlier_release_are_compared_with_the_digest_that_names_them(folder, saved):
  (variables,) = folder.glob("variables-*")
  (variables / "checksums-0.json").unlink()
  file = max(variables.glob("ocdbt*/d/*"), key=lambda path: path.stat().st_size)
  whole, refused = file.read_bytes(), 0
  for place in range(50, len(whole), len(whole) // 12):
    file.write_bytes(flipped(file, place))
    try:
      chex.assert_trees_all_equal(load_model(folder).variables, saved.variables)  # nothing that counts was hit
    except DamagedModel as error:
      refused += "the numbers in it are not those" in str(error)
    except ValueError:  # TensorStore cannot read it
      pass
    file.write_bytes(whole)
  assert refused


def test_the_digest_names_what_embeddings_depend_on(saved, folder):
  assert load_model(folder).digest == saved.digest
  changed = {**saved.variables, "params": jax.tree.map(lambda leaf: leaf + 1, saved.variables["params"])}
  others = [
    replace(saved, variables=changed), replace(saved, preprocess=replace(saved.preprocess, colour="bgr")),
    replace(saved, options={**saved.options, "dtype": "bfloat16"}),
  ]
  assert len({saved.digest, *(other.digest for other in others)}) == 4
  assert replace(saved, meta={"other": 1}).digest == saved.digest
