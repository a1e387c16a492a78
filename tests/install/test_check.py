"""Which interpreters the installation check takes, and how it collects what fails."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def check():
  spec = importlib.util.spec_from_file_location("install_check", Path(__file__).with_name("check.py"))
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  spec.loader.exec_module(module)
  return module


def test_the_newest_release_of_each_version_is_taken(check):
  versions = {"a": (3, 13, 0), "b": (3, 9, 18), "c": (3, 11, 2), "d": (3, 11, 7), "e": (3, 11, 7), "f": None, "g": (3, 10, 13)}

  def prober(path):
    return versions[path.name] and check.Python(path, versions[path.name])

  found = check.find_pythons(map(Path, versions), prober)
  assert [(str(python), python.path.name) for python in found] == [("3.11.7", "d"), ("3.13.0", "a")]


def test_pythons_are_looked_for_in_the_folder_of_pyenv_and_on_the_path_but_not_among_shims(check, tmp_path):
  names = ("pyenv/versions/3.12.1/bin/python", "pyenv/shims/python3.13", "bin/python3.11", "bin/python3", "bin/python3.11-config")
  for name in names:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  path = os.pathsep.join([str(tmp_path / "pyenv/shims"), "", str(tmp_path / "absent"), str(tmp_path / "bin")])
  found = check.candidates({"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": path})
  assert [str(file.relative_to(tmp_path)) for file in found] == [names[0], names[3], names[2]]


def test_what_is_no_working_python_is_passed_over(check, tmp_path):
  broken = tmp_path / "python3.12"
  broken.write_text("#!/bin/sh\nexit 127\n")
  broken.chmod(0o755)
  assert check.probe(broken) is None and check.probe(tmp_path / "absent") is None
  assert check.probe(Path(sys.executable)).version == sys.version_info[:3]


def test_a_failure_ends_its_row_shows_its_output_and_stands_in_the_table(check, tmp_path, capsys):
  def says(text, code=0):
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.exit({code})"]

  environment = dict(os.environ)
  rows = [check.Row(check.Python(Path("python"), (3, 12, 1)), origin, jax="0.11.2") for origin in ("wheel", "sdist", "other")]
  fine = check.Step("install", [says("one"), says("two")], ["one", "tw."])
  check.run_steps(rows[0], [fine, check.Step("import", [says("a reason", 3), says("never")])], cwd=tmp_path, environment=environment)
  check.run_steps(rows[1], [check.Step("install", [says("else")], ["wanted"]), fine], cwd=tmp_path, environment=environment)
  check.run_steps(rows[2], [check.Step("install", [says("x")], left=["file"])], cwd=tmp_path, environment=environment)
  printed = capsys.readouterr().out
  assert "  | a reason\n  | exit code 3\n" in printed and "never" not in printed
  assert "does not have 'wanted'" in printed and "file was not written" in printed
  lines = [line.split() for line in check.table(rows, ("install", "import", "tests")).splitlines()]
  assert lines[0] == ["Python", "JAX", "from", "install", "import", "tests"]
  assert lines[1][:4] == ["3.12.1", "0.11.2", "wheel", "ok"] and lines[1][-2:] == ["FAILED", "-"]
  assert [line[3:] for line in lines[2:]] == [["FAILED", "-", "-"]] * 2


def test_steps_see_neither_the_checkout_nor_a_compiler_where_there_shall_be_none(check, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", "checkout")
  monkeypatch.setenv("JAXFACE_DATA", "faces")
  with_one, without = (check.clean_environment(tmp_path, compiler=compiler) for compiler in (True, False))
  assert not {"PYTHONPATH", "JAXFACE_DATA"} & (with_one.keys() | without.keys())
  assert with_one["PATH"] == f"{tmp_path}{os.pathsep}{os.environ['PATH']}" and without["PATH"] == str(tmp_path)
