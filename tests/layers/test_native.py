"""The compiled part is found, or it is said in one line what is missing; nothing raises before it is asked for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from native_oracle import BUILT

from jaxface.layers import native


def refusal(monkeypatch, path) -> str:
  """Why a library of this path is not available."""
  monkeypatch.setenv(native.VARIABLE, str(path))
  assert not native.available()
  why = native.why_not()
  assert why and "\n" not in why
  with pytest.raises(RuntimeError, match=re.escape(why)):
    native.library()
  with pytest.raises(RuntimeError, match=re.escape(why)):
    native.onednn_version()
  return why


def test_a_library_that_was_not_built_is_told_how_to_build(monkeypatch, tmp_path):
  assert "lib.so is not built" in refusal(monkeypatch, tmp_path / "lib.so")
  monkeypatch.setenv("PATH", str(tmp_path))
  assert "no C++ compiler" in refusal(monkeypatch, tmp_path / "other.so")


@pytest.mark.skipif(not native.available(), reason="oneDNN is looked for first, and is not here")
def test_a_library_that_is_damaged_says_so(monkeypatch, tmp_path):
  damaged = tmp_path / "damaged.so"
  damaged.write_text("not a library")
  assert "damaged.so does not load" in refusal(monkeypatch, damaged)


def test_without_onednn_its_package_is_named(monkeypatch, tmp_path):
  library = tmp_path / "library.so"
  library.touch()
  monkeypatch.setattr(native, "_onednn_file", lambda: "libabsent.so.3")
  why = refusal(monkeypatch, library)
  assert "libabsent.so.3" in why and f"pip install {native.ONEDNN_PACKAGE}" in why


def test_without_openmp_the_systems_package_is_named(monkeypatch, tmp_path):
  library = tmp_path / "library.so"
  library.touch()
  monkeypatch.setattr(native, "_onednn_file", lambda: "libgomp-absent.so.1")
  assert "install the system package libgomp1" in refusal(monkeypatch, library)


@BUILT
def test_a_library_of_another_version_is_told_to_be_built_again(monkeypatch, tmp_path):
  (tmp_path / "old.so").symlink_to(native.LIBRARY)
  monkeypatch.setattr(native, "HANDLERS", (*native.HANDLERS, "JaxfaceTomorrow"))
  why = refusal(monkeypatch, tmp_path / "old.so")
  assert "old.so was built from another version of jaxface: it lacks JaxfaceTomorrow" in why and "make native" in why


@BUILT
def test_a_library_that_xla_refuses_is_told_to_be_built_again(monkeypatch, tmp_path):
  def refuse(*_, **__):
    raise jax.errors.JaxRuntimeError("INVALID: failed because the handler's version (0.5) is incompatible. More.")

  (tmp_path / "newer.so").symlink_to(native.LIBRARY)
  monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
  why = refusal(monkeypatch, tmp_path / "newer.so")
  assert "newer.so was built for another jaxlib than" in why and ": the handler's version (0.5) is incompatible; build it again" in why


def test_every_handler_is_known_by_its_name():
  defined = [
    name
    for file in (Path(native.__file__).parents[1] / "native").glob("*.cc")
    for name in re.findall(r"XLA_FFI_DEFINE_HANDLER_SYMBOL\((\w+),", file.read_text())
  ]
  assert sorted(defined) == sorted(native.HANDLERS)


@BUILT
def test_the_library_is_loaded_once_with_onednn_3():
  assert native.library() is native.library() and native.why_not() == ""
  assert re.fullmatch(r"3\.\d+\.\d+", native.onednn_version())


def test_import_loads_nothing_and_takes_anything(tmp_path):
  code = "import jaxface.layers.native as n, sys; assert 'jax' not in sys.modules; print(n.available(), n.why_not())"
  environment = {**os.environ, native.VARIABLE: str(tmp_path)}
  done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
  assert done.stdout.startswith("False ")
