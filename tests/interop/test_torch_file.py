"""Files that PyTorch itself wrote, of both formats; files that want to run something; files that are damaged."""

import io
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxface.formats.errors import DamagedData, UnsafePath
from jaxface.interop.torch_file import read_torch
from jaxface.interop.torch_pickle import UnsafePickle

ZIP, LEGACY = True, False


def state_of(torch):
  """Views, shared storages, and every type."""
  torch.manual_seed(0)
  base = torch.randn(4, 6)
  return {
    "whole": base, "turned": base.t(), "part": base[1:3, ::2], "last": base[3, 5], "again": base, "none": torch.zeros(0, 3),
    "repeated": torch.randn(3, 1).expand(3, 5), "int64": torch.arange(5), "bool": torch.tensor([True, False]),
    "half": torch.randn(3).half(), "bfloat16": torch.randn(3).bfloat16(), "double": torch.randn(2).double(),
    "uint8": torch.arange(4, dtype=torch.uint8), "int8": torch.arange(-2, 2, dtype=torch.int8),
    "int16": torch.arange(2, dtype=torch.int16), "int32": torch.arange(2, dtype=torch.int32), "scalar": torch.tensor(7),
  }


def assert_same(arrays, state, torch):
  assert list(arrays) == list(state)
  for key, tensor in state.items():
    if key == "bfloat16":
      assert arrays[key].dtype == ml_dtypes.bfloat16
      tensor, arrays[key] = tensor.float(), arrays[key].astype(np.float32)
    assert arrays[key].dtype == tensor.numpy().dtype and arrays[key].flags.writeable
    np.testing.assert_array_equal(arrays[key], tensor.numpy())


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_type_and_view_is_read(zipped, protocol, torch, tmp_path):
  state = state_of(torch)
  torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
  assert_same(read_torch(tmp_path / "a.pth"), state, torch)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_a_module_s_state_is_found_in_its_wrapper_beside_the_optimizer_s(zipped, torch, tmp_path):
  net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
  net(torch.zeros(1, 3, 5, 5)).sum().backward()
  optimizer.step()
  whole = {"epoch": 3, "best": 0.5, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "tags": ["a", None]}
  torch.save(whole, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
  assert_same(read_torch(tmp_path / "a.pt"), net.state_dict(), torch)


class Evil:
  """Runs a command in whoever unpickles it."""

  def __init__(self, marker):
    self.marker = marker

  def __reduce__(self):
    return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_what_wants_to_run_is_refused_and_does_not_run(zipped, protocol, torch, tmp_path):
  state = {"weight": torch.zeros(2), "evil": Evil(tmp_path / "was_here")}
  torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=max(protocol, 2))
  with pytest.raises(UnsafePickle, match=r"a\.pth.*offset \d+: asks for 'posix\.system'; nothing was run"):
    read_torch(tmp_path / "a.pth")
  (tmp_path / "b.pth").write_bytes(pickle.dumps(state["evil"], protocol))
  with pytest.raises(UnsafePickle, match=r"'posix\.system'"):
    read_torch(tmp_path / "b.pth")
  assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
  ("save", "word"),
  [
    (lambda torch, path: torch.save(torch.nn.Linear(2, 2), path), "'torch.nn.modules.linear.Linear'"),
    (lambda torch, path: torch.save({"a": np.zeros(2)}, path), "numpy"),
    (lambda torch, path: torch.save({"a": torch.nn.Parameter(torch.zeros(2))}, path), "'torch._utils._rebuild_parameter'"),
    (lambda torch, path: torch.save({"a": torch.zeros(2).to_sparse()}, path), "sparse"),
  ],
)
def test_other_globals_are_named(save, word, torch, tmp_path):
  save(torch, tmp_path / "a.pth")
  with pytest.raises(UnsafePickle, match=r"save the `state_dict\(\)`") as error:
    read_torch(tmp_path / "a.pth")
  assert word in str(error.value)


@pytest.mark.parametrize(
  ("content", "word"),
  [
    (b"cposix\nsystem\n(S'true'\ntR.", "posix.system"),
    (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
    (b"(S'true'\niposix\nsystem\n.", "INST"),
    (b"ctorch\nFloatStorage\n(tR.", "calls torch.FloatStorage"),
    (b"ccollections\nOrderedDict\n((I1\nI2\nttR.", "calls collections.OrderedDict"),
    (b"ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    (b"\x82\x01.", "EXT1"),
  ],
)
def test_every_way_to_reach_code_is_closed(content, word, tmp_path):
  (tmp_path / "a.pth").write_bytes(content)
  with pytest.raises(UnsafePickle) as error:
    read_torch(tmp_path / "a.pth")
  assert word in str(error.value) and "a.pth" in str(error.value)


@pytest.fixture(scope="module")
def files(torch):
  """One small state dict in both formats."""
  contents = []
  for zipped in (ZIP, LEGACY):
    file = io.BytesIO()
    torch.save({"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.arange(3)}, file, _use_new_zipfile_serialization=zipped)
    contents.append(file.getvalue())
  return contents


@settings(max_examples=20)
@given(data=st.data(), zipped=st.booleans())
def test_a_file_cut_short_is_refused_by_name(data, zipped, files, tmp_path_factory):
  content = files[0 if zipped else 1]
  path = tmp_path_factory.mktemp("cut") / "cut.pth"
  path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
  with pytest.raises(DamagedData, match=r"cut\.pth"):
    read_torch(path)


@settings(max_examples=100)
@given(data=st.data(), zipped=st.booleans())
def test_a_changed_byte_is_refused_or_changes_nothing_but_numbers(data, zipped, files, tmp_path_factory):
  content = bytearray(files[0 if zipped else 1])
  place = data.draw(st.integers(0, len(content) - 1))
  content[place] ^= data.draw(st.integers(1, 255))
  path = tmp_path_factory.mktemp("changed") / "changed.pth"
  path.write_bytes(content)
  try:
    arrays = read_torch(path)
  except (DamagedData, UnsafePickle, UnsafePath) as error:
    assert "changed.pth" in str(error)
  else:
    assert all(array.size <= 6 for array in arrays.values())


def rezip(content: bytes, change, compression=zipfile.ZIP_STORED) -> bytes:
  """The archive with other entries: `change` takes and gives a dict of contents by name."""
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", compression) as archive:
    for name, data in change(entries).items():
      archive.writestr(name, data)
  return out.getvalue()


@pytest.mark.parametrize(
  ("change", "kind", "words"),
  [
    (lambda e: {**e, "../evil": b"x"}, UnsafePath, ["'../evil'"]),
    (lambda e: {**e, "/etc/evil": b"x"}, UnsafePath, ["'/etc/evil'"]),
    (lambda e: {**e, "other/file": b"x"}, DamagedData, ["one folder"]),
    (lambda e: {n: d for n, d in e.items() if not n.endswith("data/0")}, DamagedData, ["data/0", "missing"]),
    (lambda e: {n: d[:-4] if n.endswith("data/0") else d for n, d in e.items()}, DamagedData, ["data/0", "20 bytes", "24"]),
    (lambda e: {n: b"big" if n.endswith("byteorder") else d for n, d in e.items()}, DamagedData, ["big-endian"]),
    (lambda e: {**e, "archive/constants.pkl": b""}, DamagedData, ["TorchScript"]),
    (lambda e: {n: d.replace(b"K\x06t", b"K\x07t") for n, d in e.items()}, DamagedData, ["data/0", "24 bytes", "28"]),
    # Strides of 3 and 1 become 9 and 1: the tensor would reach beyond its storage.
    (lambda e: {n: d.replace(b"K\x01K\x03\x86", b"K\x01K\x09\x86") for n, d in e.items()}, DamagedData, ["'a'", "(1, 9)"]),
    # Two dimensions of 2**31 - 1 numbers with strides of zero: 2**64 bytes out of 24.
    (lambda e: {n: d.replace(b"K\x03K\x02\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86").replace(
      b"K\x01K\x03\x86", b"K\x00K\x00\x86") for n, d in e.items()}, DamagedData, ["bytes together", "at most"]),
  ],
)
def test_hostile_archives_are_refused(change, kind, words, files, tmp_path):
  changed = rezip(files[0], change)
  assert changed != rezip(files[0], lambda e: e)
  (tmp_path / "a.pth").write_bytes(changed)
  with pytest.raises(kind) as error:
    read_torch(tmp_path / "a.pth")
  for word in ["a.pth", *words]:
    assert word in str(error.value)


def test_a_bomb_of_zeros_and_other_files_are_refused(files, tmp_path):
  path = tmp_path / "a.pth"
  path.write_bytes(rezip(files[0], lambda e: e, zipfile.ZIP_DEFLATED))
  with pytest.raises(DamagedData, match="compressed"):
    read_torch(path)
  for content, word in ((b"", "not a pickle"), (b"\xff\xd8\xff\xe0", "not a pickle"), (pickle.dumps({"a": 1}), "magic")):
    path.write_bytes(content)
    with pytest.raises(DamagedData, match=word):
      read_torch(path)
  path.write_bytes(files[1] + b"more")  # what stands behind the last storage is nobody's
  assert list(read_torch(path)) == ["a", "b"]


def test_a_file_without_a_state_dict_says_what_it_holds(torch, tmp_path):
  torch.save({"epoch": 3, "weights": {"a": 1}}, tmp_path / "a.pth")
  with pytest.raises(DamagedData, match="the file holds epoch, weights"):
    read_torch(tmp_path / "a.pth")
  torch.save([torch.zeros(2)], tmp_path / "a.pth")
  with pytest.raises(DamagedData, match="the file holds a list"):
    read_torch(tmp_path / "a.pth")
