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
def test_what_wants_to_run_does_not_run_and_is_named(zipped, protocol, torch, tmp_path):
  state = {"weight": torch.zeros(2), "evil": Evil(tmp_path / "was_here")}
  torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=max(protocol, 2))
  with pytest.raises(DamagedData, match=r"a\.pth.*evil: posix\.system \(not run\)"):
    read_torch(tmp_path / "a.pth")
  (tmp_path / "b.pth").write_bytes(pickle.dumps(state["evil"], protocol))
  with pytest.raises(DamagedData, match="magic"):
    read_torch(tmp_path / "b.pth")
  whole = {"state_dict": {"weight": torch.ones(2, 3)}, "hyper_parameters": state["evil"]}
  torch.save(whole, tmp_path / "c.ckpt", _use_new_zipfile_serialization=zipped, pickle_protocol=max(protocol, 2))
  assert_same(read_torch(tmp_path / "c.ckpt"), whole["state_dict"], torch)
  assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
  ("save", "word"),
  [
    (lambda torch, path: torch.save(torch.nn.Linear(2, 2), path), r"torch\.nn\.modules\.linear\.Linear \(not run\)"),
    (lambda torch, path: torch.save({"a": np.zeros(2)}, path), r"a: numpy.*_reconstruct \(not run\)"),
    (lambda torch, path: torch.save({"a": torch.zeros(2).to_sparse()}, path), "a: torch._utils._rebuild_sparse_tensor"),
  ],
)
def test_other_globals_are_named(save, word, torch, tmp_path):
  save(torch, tmp_path / "a.pth")
  with pytest.raises(DamagedData, match=f"{word}.*Save the `state_dict"):
    read_torch(tmp_path / "a.pth")


def test_parameters_and_tensors_with_attributes_are_tensors(torch, tmp_path):
  parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
  marked = torch.nn.Parameter(torch.ones(2, 2))
  marked.kind = "marked"
  state = {"plain": parameter, "marked": marked, "buffer": torch.nn.Buffer(torch.zeros(3))}
  torch.save(state, tmp_path / "a.pth")
  assert_same(read_torch(tmp_path / "a.pth"), {key: tensor.detach() for key, tensor in state.items()}, torch)


def zipped(pickled: bytes, numbers: dict[str, bytes]) -> bytes:
  """The archive that `torch.save` would write around a pickle and its storages."""
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w") as archive:
    archive.writestr("archive/data.pkl", pickled)
    for key, content in numbers.items():
      archive.writestr(f"archive/data/{key}", content)
  return out.getvalue()


MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
TENSOR = (
  b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQK\0"
  b"K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
)


def text(word: str) -> bytes:
  return b"X" + len(word).to_bytes(4, "little") + word.encode()


def container(**values: bytes) -> bytes:
  return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def write(path, pickled: bytes) -> None:
  path.write_bytes(zipped(b"\x80\x02" + pickled + b".", {"0": MATRIX.tobytes()}))


STATE = container(**{"fc.weight": TENSOR})
PARAMETER = b"ctorch._utils\n_rebuild_parameter\n(" + TENSOR + b"\x88ccollections\nOrderedDict\n)RtR"
# A class of a trainer: made, given fields, given items and members, and called.
OBJECT = b"ctrainer.configs\nConfig\n)\x81}(X\x02\0\0\0lrK\x01ub"
CALLED = b"ctrainer\nmake\n(K\x01tR}(X\x01\0\0\0aK\x01ub"
ITEMS = b"ctrainer\nDict\n)R(X\x01\0\0\0aK\x01u"
MEMBERS = b"ctrainer\nList\n)R(K\x01K\x02e"
SET = b"\x80\x04\x8f(K\x01K\x02\x90"
OLD = b"(K\x01itrainer\nOld\n"
ODD_KEYS = b"}(K\x01\x85K\x02NK\x03u"
CALLED_TWICE = b"cfunctools\npartial\n(K\x01tR(K\x02tR"


@pytest.mark.parametrize(
  ("pickled", "options"),
  [
    (STATE, {}),
    (container(**{"fc.weight": PARAMETER}), {}),
    (container(anything=STATE), {}),
    (container(outer=container(epoch=b"K\x03", inner=container(loss=TENSOR.replace(b"K\x02K\x03\x86K\x03K\x01\x86", b"))"), net=STATE))), {}),
    (container(epoch=b"K\x03", model=STATE, model_ema=STATE), {}),
    (container(generator=STATE, other=STATE), {"key": "generator"}),
    (container(generator=container(**{"net.fc.weight": TENSOR, "head.kernel": TENSOR}), other=STATE), {"key": "generator.net"}),
    (container(**{"net.fc.weight": TENSOR, "head.kernel": TENSOR}), {"key": "net"}),
    (container(**{"fc.weight": TENSOR, "epoch": b"K\x03", "note": text("x")}), {}),
    (container(state_dict=STATE, optimizer=container(state=b"}K\x00" + container(momentum=TENSOR) + b"s")), {}),
    *[
      (container(hyper_parameters=value, callbacks=b"](" + value + b"e", state_dict=STATE), {})
      for value in (OBJECT, CALLED, ITEMS, MEMBERS, SET, OLD, ODD_KEYS, CALLED_TWICE)
    ],
  ],
)
def test_the_state_dict_is_found_in_any_container_and_beside_any_object(pickled, options, tmp_path):
  write(tmp_path / "a.ckpt", pickled)
  arrays = read_torch(tmp_path / "a.ckpt", **options)
  assert list(arrays) == ["fc.weight"]
  np.testing.assert_array_equal(arrays["fc.weight"], MATRIX)


@pytest.mark.parametrize(
  ("pickled", "key", "words"),
  [
    (container(generator=STATE, other=STATE), "", ["generator (1 tensors), other (1 tensors)", "--key"]),
    (container(generator=STATE, other=STATE), "third", ["--key"]),
    (STATE, "head", ["no tensor under 'head'", "fc.weight"]),
    (container(hyper_parameters=OBJECT), "", ["trainer.configs.Config (not run)"]),
    (OBJECT, "", ["contains trainer.configs.Config (not run)"]),
  ],
)
def test_no_state_dict_or_several_are_said(pickled, key, words, tmp_path):
  write(tmp_path / "a.ckpt", pickled)
  with pytest.raises(DamagedData) as error:
    read_torch(tmp_path / "a.ckpt", key)
  for word in ["a.ckpt", *words]:
    assert word in str(error.value)


def test_dicts_that_refer_to_each_other_many_times_are_walked_once(tmp_path):
  """Nine levels of a hundred references to the level below: 10**18 paths."""
  levels = b"}q\0"
  for level in range(9):
    levels = b"}q" + bytes([level + 1]) + b"(" + b"".join(
      text(str(i)) + (levels if i == 0 else b"h" + bytes([level])) for i in range(100)
    ) + b"u"
  write(tmp_path / "a.pth", levels)
  with pytest.raises(DamagedData, match="no state dict"):
    read_torch(tmp_path / "a.pth")


@pytest.mark.parametrize(
  ("content", "kind", "word"),
  [
    (b"cposix\nsystem\n(S'true'\ntR", DamagedData, r"posix\.system \(not run\)"),
    (b"\x80\x04\x8c\x05posix\x8c\x06system\x93", DamagedData, "no state dict"),
    (b"(S'true'\niposix\nsystem\n", DamagedData, r"posix\.system \(not run\)"),
    (b"(cposix\nsystem\nS'true'\no", DamagedData, r"posix\.system \(not run\)"),
    (b"ctorch\nFloatStorage\n(tR", DamagedData, r"torch\.FloatStorage \(not run\)"),
    (b"ccollections\nOrderedDict\n((I1\nI2\nttR", DamagedData, r"collections\.OrderedDict \(not run\)"),
    (b"K\x01)R", DamagedData, "calls a int"),
    (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR", DamagedData, "with 1 arguments"),
    (b"\x82\x01", UnsafePickle, "EXT1"),
  ],
)
def test_every_way_to_reach_code_is_closed(content, kind, word, tmp_path):
  write(tmp_path / "a.pth", content)
  with pytest.raises(kind, match=f"a\\.pth.*{word}"):
    read_torch(tmp_path / "a.pth")


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
  with pytest.raises(DamagedData, match="the file contains epoch, weights"):
    read_torch(tmp_path / "a.pth")
  torch.save([torch.zeros(2)], tmp_path / "a.pth")
  with pytest.raises(DamagedData, match="the file contains a list"):
    read_torch(tmp_path / "a.pth")
