"""JSON files with a checksum give back what was written; a flipped bit is named, an old file is read with a note."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_crc32c import slow_crc32c

from jaxface.evaluation.pairs.normalisation import LargestFeatures
from jaxface.formats.checked_json import (
  checked_text,
  parse_checked_json,
  read_checked_json,
  write_checked_json,
)
from jaxface.formats.errors import DamagedData
from jaxface.formats.manifest import Manifest, Shard, read_manifest, write_manifest

VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda name: name != "crc32c"), VALUES, max_size=4)


@given(OBJECTS)
def test_an_object_comes_back_and_its_checksum_is_that_of_the_definition(content):
  text = checked_text(content).encode()
  assert parse_checked_json(text, file="a.json") == content
  without = json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8") + b"\n"
  assert json.loads(text)["crc32c"] == f"{slow_crc32c(without):08x}"


@given(OBJECTS, st.data())
def test_a_flipped_bit_is_named(content, data):
  text = bytearray(checked_text(content).encode())
  place = data.draw(st.integers(0, 8 * len(text) - 1))
  text[place // 8] ^= 1 << place % 8
  with pytest.raises(DamagedData, match=r"a\.json"):
    parse_checked_json(bytes(text), file="a.json")


def test_every_flipped_bit_of_what_is_read_back_is_named(tmp_path, flip_all):
  shard = Shard("a.tfrecord", "a.npz", 3, 900, "0" * 64, "1" * 64)
  write_manifest(tmp_path, Manifest(3, 2, (24, 24, 3), "arcface112", "faces", (shard,), "2" * 64))
  flip_all(tmp_path / "manifest.json", lambda: read_manifest(tmp_path), read_manifest(tmp_path), DamagedData)
  fit = tmp_path / "fit.json"
  LargestFeatures([1.0, 2.5], 0.1).save(fit)
  flip_all(fit, lambda: LargestFeatures.load(fit).largest_d.tolist(), [1.0, 2.5], DamagedData)


def test_an_edited_file_is_refused_with_the_way_on(tmp_path):
  write_checked_json(tmp_path / "a.json", {"seed": 1})
  text = (tmp_path / "a.json").read_text()
  (tmp_path / "a.json").write_text(text.replace("1", "2", 1))
  with pytest.raises(DamagedData, match=r"a\.json: .* edited or damaged\. Restore .* delete its entry 'crc32c'"):
    read_checked_json(tmp_path / "a.json")


def test_a_file_of_an_earlier_release_is_read_with_one_note(tmp_path, caplog):
  for text in ('{"seed": 1, "rate": NaN}', "{}", '{"seed": 1}'):
    (tmp_path / "old.json").write_text(text)
    assert str(read_checked_json(tmp_path / "old.json")) == text.replace('"', "'").replace("NaN", "nan")
  assert caplog.text.count("old.json has no checksum (crc32c)") == 1


@pytest.mark.parametrize(("text", "words"), [(b"[1]", "a list"), (b"{", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON")])
def test_what_is_no_object_is_named(text, words):
  with pytest.raises(DamagedData, match=rf"a\.json: .*{words}"):
    parse_checked_json(text, file="a.json")
