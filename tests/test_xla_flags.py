"""Sets of XLA flags: what the environment gets, that the installed XLA knows them, and that it is the one that is asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxface import xla_flags
from jaxface.commands.main import main
from jaxface.commands.xla import check_used, use_flags
from jaxface.xla_flags import SETS, Flag, FlagSet, UnknownFlag, apply, environment, libraries, unknown_flags

PAGE = Path(__file__).parents[1] / "docs" / "xla_flags.md"


def test_flags_of_the_user_come_last_and_none_twice():
  given = {"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=true --mine=1"}
  value = environment("gpu_library", given)["XLA_FLAGS"]
  assert value == "--xla_gpu_enable_triton_gemm=false --xla_gpu_enable_cublaslt=true --xla_gpu_enable_triton_gemm=true --mine=1"
  assert environment("gpu_library", {"XLA_FLAGS": value})["XLA_FLAGS"].split() == value.split()


def test_sets_for_both_variables():
  found = environment("gpu_library, tpu_memory", {})
  assert set(found) == {"XLA_FLAGS", "LIBTPU_INIT_ARGS"} and "kBrkga" in found["LIBTPU_INIT_ARGS"]
  assert environment("", {"XLA_FLAGS": "--a=1"}) == {}


def test_the_installed_xla_knows_all_flags_of_its_sets():
  (library,) = [file for file in libraries("XLA_FLAGS") if "jaxlib" in file.parts]
  names = {flag.name for one in SETS.values() if one.variable == "XLA_FLAGS" for flag in one.flags}
  assert len(names) >= 10
  assert unknown_flags([*sorted(names), "xla_gpu_no_such_flag"], library) == ["xla_gpu_no_such_flag"]


def test_what_is_said_to_be_unknown_ends_a_process():
  # The truth about a flag is what XLA does with it. tests/benchmarks/test_accelerator.py starts a process with all flags that are known.
  settings = {**os.environ, "XLA_FLAGS": "--xla_gpu_no_such_flag=1", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], env=settings, capture_output=True, text=True, check=False)
  assert done.returncode != 0 and "xla_gpu_no_such_flag" in done.stderr


def test_a_library_without_a_flag_is_named_and_nothing_is_set(tmp_path, monkeypatch):
  old = tmp_path / "libtpu" / "libtpu.so"
  old.parent.mkdir()
  known = [flag.name for flag in SETS["tpu_memory"].flags][1:]
  old.write_bytes(b"\0".join(f"AbslFlagHelpGenFor{name}8NonConstEv".encode() for name in known) + b" xla_latency_hiding_scheduler_rerun\0")
  monkeypatch.setattr(xla_flags, "libraries", lambda variable: [old])
  monkeypatch.setattr(xla_flags.metadata, "version", lambda package: "0.0.1")
  variables = {}
  with pytest.raises(UnknownFlag, match=r"libtpu 0\.0\.1 does not know xla_latency_hiding_scheduler_rerun"):
    apply("tpu_memory", variables)
  assert variables == {}
  monkeypatch.setitem(SETS, "one", FlagSet("one", "LIBTPU_INIT_ARGS", (Flag(known[0], "1", "", ""),)))
  apply("one", variables)
  assert variables == {"LIBTPU_INIT_ARGS": f"--{known[0]}=1"}


def test_an_unknown_set_lists_all():
  with pytest.raises(UnknownFlag, match="no set of XLA flags 'fast': takes gpu_overlap, "):
    environment("fast", {})


@pytest.mark.parametrize("arguments", [["quickstart", "--xla-flags", "gpu_library"], ["quickstart", "--xla-flags=gpu_library"]])
def test_the_option_of_train_and_the_variable_set_the_environment(monkeypatch, arguments):
  monkeypatch.setattr(os, "environ", {})
  use_flags([])
  assert os.environ == {}
  use_flags(arguments)
  assert "cublaslt" in os.environ["XLA_FLAGS"]
  monkeypatch.setattr(os, "environ", {"JAXFACE_XLA_FLAGS": "gpu_library"})
  use_flags(["quickstart"])
  assert "cublaslt" in os.environ["XLA_FLAGS"]


def test_sets_that_came_too_late_are_an_error(capsys):
  check_used("gpu_library", {"XLA_FLAGS": environment("gpu_library", {})["XLA_FLAGS"] + " --more=1"})
  check_used(None, {})
  assert main(["train", "quickstart", "--xla-flags", "gpu_library"]) == 2
  assert "must be set before JAX starts" in capsys.readouterr().err


def test_every_flag_says_what_it_does_and_the_page_has_all():
  for one in SETS.values():
    assert one.flags and one.variable in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
    assert all(len(flag.effect) > 8 or flag.effect == "see above" for flag in one.flags) and all(flag.source for flag in one.flags)
  assert xla_flags.table() in PAGE.read_text(encoding="utf-8")
