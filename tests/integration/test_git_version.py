"""The version of a build is that of the tag of its commit."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

import jaxface

FILE = Path(jaxface.__file__).parent / "native" / "git_version.py"


@pytest.fixture(scope="module")
def module():
  spec = importlib.util.spec_from_file_location("git_version", FILE)
  loaded = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(loaded)
  return loaded


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
  monkeypatch.delenv("JAXFACE_VERSION", raising=False)


@pytest.fixture
def checkout(tmp_path):
  """A new repository: `git(...)` in its folder, and one commit."""

  def git(*arguments):
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(["git", *arguments], cwd=tmp_path, env={**os.environ, **identity}, check=True, capture_output=True)

  git("init")
  (tmp_path / "file").write_text("1")
  git("add", "file")
  git("commit", "-m", "one")
  return tmp_path, git


def test_the_version_is_that_of_the_tag(module, checkout):
  folder, git = checkout
  assert module.version_of(folder) == module.FALLBACK
  git("tag", "other")
  git("tag", "v1.x")
  assert module.version_of(folder) == module.FALLBACK
  git("tag", "-d", "v1.x")
  git("tag", "v0.2.0rc1")
  assert module.version_of(folder) == "0.2.0rc1"
  git("commit", "--allow-empty", "-m", "two")
  assert Version("0.2.0rc1") > Version(module.version_of(folder)) or module.version_of(folder).startswith("0.2.0.dev1+g")
  git("tag", "v0.2.0")
  assert module.version_of(folder) == "0.2.0"
  git("commit", "--allow-empty", "-m", "three")
  after = module.version_of(folder)
  assert after.startswith("0.2.1.dev1+g") and Version("0.2.0") < Version(after) < Version("0.2.1")
  (folder / "file").write_text("2")
  assert module.version_of(folder) == f"{after}.dirty" and Version(f"{after}.dirty")


def test_a_source_distribution_keeps_the_version_that_it_was_made_with(module, checkout):
  folder, git = checkout
  git("tag", "v0.3.0")
  (folder / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: jaxface\nVersion: 0.2.5\n")
  assert module.version_of(folder) == "0.2.5"


def test_without_git_the_version_is_given(module, tmp_path, monkeypatch):
  assert module.version_of(tmp_path) == module.FALLBACK
  monkeypatch.setenv("JAXFACE_VERSION", "0.4.0")
  assert module.version_of(tmp_path) == "0.4.0"
  monkeypatch.setenv("JAXFACE_VERSION", "latest")
  with pytest.raises(ValueError, match="needs a version such as"):
    module.version_of(tmp_path)


def test_the_installed_version_is_the_packages():
  from importlib.metadata import version

  assert jaxface.__version__ == version("jaxface") and Version(jaxface.__version__)
