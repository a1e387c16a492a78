"""The Dockerfile against what it refers to: stages, extras, files; the images themselves are not built here."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def stages():
  """The instructions of each stage, with its base."""
  joined = re.sub(r"\\\n", " ", TEXT)
  parts = re.split(r"^FROM (\S+) AS (\S+)$", joined, flags=re.MULTILINE)[1:]
  return {name: (base, [line for line in body.splitlines() if line and line[0] not in "# "]) for base, name, body in zip(*[iter(parts)] * 3)}


def test_each_target_ends_in_an_image_without_a_compiler_that_does_not_run_as_root():
  found = stages()
  assert {"cpu", "cuda", "tpu"} <= set(found)
  for target in ("cpu", "cuda", "tpu"):
    base, lines = found[target]
    assert base == "base" and 'ENTRYPOINT ["jaxface"]' in lines and "USER 1000" in lines
    (copied,) = [line for line in lines if line.startswith("COPY --from=")]
    source = re.match(r"COPY --from=(\S+) /opt/jaxface /opt/jaxface$", copied)[1]
    assert source in found and found[source][0] in ("base", "build")
  assert not re.search(r"\bg\+\+|cmake", " ".join(found["base"][1])) and "useradd" in " ".join(found["base"][1])
  assert list(found)[-1] == "cpu"  # the target where none is given


def test_the_extras_and_files_that_it_installs_exist():
  extras = set(re.findall(r'"\.\[(\w+)\]"', TEXT))
  assert extras == {"cuda", "tpu"} and extras <= set(PROJECT["project"]["optional-dependencies"])
  assert "-c constraints.txt" in TEXT
  python = re.search(r"^ARG PYTHON=(\S+)$", TEXT, re.MULTILINE)[1]
  assert tuple(map(int, python.split("."))) >= (3, 11)


def test_an_image_is_built_from_what_a_source_distribution_holds():
  let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
  assert let_in == set(PROJECT["tool"]["scikit-build"]["sdist"]["include"])
  assert all((ROOT / name).exists() for name in let_in)


def test_hadolint_finds_nothing():
  hadolint = shutil.which("hadolint")
  if hadolint is None:
    pytest.skip("ABSENT: hadolint is not installed: the Dockerfile was not linted here")
  # DL3008: versions of Debian's packages follow the base image.
  done = subprocess.run([hadolint, "--ignore", "DL3008", str(ROOT / "docker" / "Dockerfile")], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout
