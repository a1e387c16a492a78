"""What the wheel and the source distribution hold, built from this checkout without its compiled part."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytest.importorskip("scikit_build_core", reason="NO PACKAGE WAS BUILT: make test installs scikit-build-core")

ROOT = Path(__file__).parents[2]
NATIVE = "jaxface/native/"


def build(kind: str, folder: Path) -> Path:
  """Call the build backend as pip does; with a compiler that is not there the wheel goes without compiled code."""
  code = f"import scikit_build_core.build as b; b.build_{kind}({str(folder)!r})"
  environment = {**os.environ, "CXX": "/nonexistent"}
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  if kind == "wheel":
    assert len([line for line in done.stderr.splitlines() if "goes without oneDNN: no C++ compiler" in line]) == 1
  (path,) = folder.iterdir()
  return path


def tracked(*folders: str) -> set[str]:
  """Files of the checkout that git knows, below folders."""
  listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  return {name for name in listed.split() if (ROOT / name).is_file()}


def test_the_wheel_holds_the_packages_and_the_experiments_but_no_sources_of_the_compiled_part(tmp_path):
  wheel = build("wheel", tmp_path)
  assert wheel.name.endswith("-py3-none-any.whl")
  held = set(zipfile.ZipFile(wheel).namelist())
  wanted = {name for name in tracked("jaxface", "tfrecords_tools") if not name.startswith(NATIVE)}
  wanted |= {f"jaxface/_{name}" for name in tracked("experiments")}
  assert not wanted - held
  version = wheel.name.split("-")[1]
  assert {name.partition("/")[0] for name in held} == {"jaxface", "tfrecords_tools", f"jaxface-{version}.dist-info"}
  assert not [name for name in held if name.startswith(NATIVE) or name.endswith((".so", ".pyc"))]


def test_the_source_distribution_holds_all_that_the_wheel_is_built_from(tmp_path):
  with tarfile.open(build("sdist", tmp_path)) as archive:
    held = {name.partition("/")[2] for name in archive.getnames()}
  files = ("pyproject.toml", "README.md", "BUILD.md", "LICENSE", "constraints.txt")
  assert not tracked("jaxface", "tfrecords_tools", "experiments", *files) - held
  assert not [name for name in held if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_what_is_asked_for_is_pinned_once_for_each_python_to_a_version_that_is_allowed(version):
  def here(lines):
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [item for item in found if not item.marker or item.marker.evaluate({"python_version": version})]

  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  pins = here((ROOT / "constraints.txt").read_text().splitlines())
  pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
  assert len(pinned) == len(pins)
  extras = project["project"]["optional-dependencies"]
  asked = project["build-system"]["requires"] + project["project"]["dependencies"] + extras["test"] + extras["bench"]
  for item in here(asked):
    # The wheel is built with the headers of the oldest jaxlib, in isolation; see pyproject.toml.
    assert item.name == "jaxlib" or pinned[canonicalize_name(item.name)] in item.specifier, item
