"""The safetensors format, byte by byte."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.formats.errors import DamagedData
from jaxface.interop.safetensors_file import read_metadata, read_safetensors, write_safetensors

ARRAYS = {
  "matrix": np.arange(6, dtype=np.float32).reshape(2, 3), "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
  "half": np.float16([1, 2]), "bfloat16": np.asarray([1.5, -2], ml_dtypes.bfloat16), "scalar": np.asarray(7, np.int64),
  "empty": np.zeros((0, 3), np.int32), "bools": np.asarray([True, False]), "bytes": np.arange(3, dtype=np.uint8),
}


def build(table, numbers=b"", length=None) -> bytes:
  """A file by the letter of the format."""
  text = table if isinstance(table, bytes) else json.dumps(table).encode()
  return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def test_a_file_written_by_hand_is_read(tmp_path):
  table = {
    "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [2, 10]},
    "a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
    "__metadata__": {"format": "pt"},
  }
  (tmp_path / "a.safetensors").write_bytes(build(table, b"\xc0\x3f" + np.float32([1, -2]).tobytes()))
  arrays = read_safetensors(tmp_path / "a.safetensors")
  assert float(arrays["a"]) == 1.5
  np.testing.assert_array_equal(arrays["b"], np.float32([[1], [-2]]))


def test_a_round_trip_keeps_names_order_types_and_numbers(tmp_path):
  path = tmp_path / "a.safetensors"
  with open(path, "wb") as file:
    write_safetensors(file, ARRAYS, {"format": "pt"})
  found = read_safetensors(path)
  assert set(found) == set(ARRAYS)
  for name, array in ARRAYS.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)
  content = path.read_bytes()
  length = int.from_bytes(content[:8], "little")
  assert length % 8 == 0 and json.loads(content[8 : 8 + length])["__metadata__"] == read_metadata(path) == {"format": "pt"}
  for wrong in (["pt"], {"format": 1}):
    path.write_bytes(build({"__metadata__": wrong}))
    with pytest.raises(DamagedData, match="text by key"):
      read_metadata(path)
  with open(path, "wb") as file, pytest.raises(ValueError, match="'a' has dtype complex64"):
    write_safetensors(file, {"a": np.zeros(2, np.complex64)})


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
  return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (b"", ["0 bytes"]),
    (build({}, length=2**40), ["table of", "offset 0"]),
    (build(b"{"), ["not JSON", "offset 8"]),
    (build(b"[]"), ["list"]),
    (build(b"[" * 100_000), ["not JSON"]),
    (build(b'{"a": 1, "a": 2}'), ["occurs twice"]),
    (build({"a": {"dtype": "F32"}}), ["'a'", "data_offsets"]),
    (build({"a": entry("F8_E4M3", (8,))}, bytes(8)), ["'a'", "'F8_E4M3'", "F32"]),
    (build({"a": entry(shape=(-2,))}, bytes(8)), ["'a'", "(-2,)"]),
    (build({"a": entry(shape=(2.0,))}, bytes(8)), ["'a'", "(2.0,)"]),
    (build({"a": entry(shape=(2**31, 2**31))}, bytes(8)), ["'a'", "18,446,744,073,709,551,616 bytes", "found 8"]),
    (build({"a": entry(shape=(3,))}, bytes(8)), ["'a'", "12 bytes", "found 8"]),
    (build({"a": entry()}, bytes(4)), ["'a'", "0..8 of 4 bytes"]),
    (build({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)), ["'b'", "4..12", "begin at 8"]),
    (build({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)), ["'b'", "12..20", "begin at 8"]),
    (build({"a": entry()}, bytes(9)), ["1 bytes after the last array"]),
  ],
)
def test_damaged_files_are_refused_by_name_and_place(content, words, tmp_path):
  (tmp_path / "a.safetensors").write_bytes(content)
  with pytest.raises(DamagedData) as error:
    read_safetensors(tmp_path / "a.safetensors")
  for word in ["a.safetensors", *words]:
    assert word in str(error.value)


@settings(max_examples=20)
@given(data=st.data())
def test_any_cut_is_noticed(data, tmp_path_factory):
  path = tmp_path_factory.mktemp("cut") / "a.safetensors"
  with open(path, "wb") as file:
    write_safetensors(file, ARRAYS)
  content = path.read_bytes()
  path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(DamagedData):
    read_safetensors(path)
