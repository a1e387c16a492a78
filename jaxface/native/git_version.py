"""The version of a build, from the tags of the checkout; used by the build backend (pyproject.toml), not installed.

The commit of the tag v0.2.0 has version 0.2.0, the third commit after it 0.2.1.dev3+gHASH, and +gHASH.dirty with changed files. A source distribution has
the version that it was made with. A folder without git or tags, as in an image, has JAXFACE_VERSION from the environment, or else `FALLBACK`.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FALLBACK = "0.1.0"
_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)((?:a|b|rc)\d+)?")


def version_of(root: Path) -> str:
  """The version of a checkout or an unpacked source distribution.

  Args:
    root: its folder.
  Raises:
    ValueError: JAXFACE_VERSION is not a version.
  """
  if given := os.environ.get("JAXFACE_VERSION", ""):
    if not re.fullmatch(r"\d+\.\d+\.\d+\S*", given):
      raise ValueError(f"JAXFACE_VERSION is {given!r}: needs a version such as 0.2.0")
    return given
  if (root / "PKG-INFO").is_file():
    found = re.search(r"^Version: (\S+)$", (root / "PKG-INFO").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else FALLBACK
  if not (root / ".git").exists():  # a checkout inside that of another project has no tags of ours
    return FALLBACK
  return _described(_git(root, "describe", "--tags", "--long", "--dirty", "--match", "v[0-9]*")) or FALLBACK


def _described(text: str) -> str:
  """The version for the output of `git describe --long --dirty`; "" for none."""
  found = re.fullmatch(r"(?P<tag>\S+)-(?P<commits>\d+)-(?P<commit>g[0-9a-f]+)(?P<dirty>-dirty)?", text)
  tag = _TAG.fullmatch(found["tag"]) if found else None
  if not found or not tag:
    return ""
  major, minor, patch, pre = tag.groups()
  if not int(found["commits"]) and not found["dirty"]:
    return f"{major}.{minor}.{patch}{pre or ''}"
  # After a release the next one is being made, after a release candidate the release.
  patch = patch if pre else str(int(patch) + 1)
  return f"{major}.{minor}.{patch}.dev{found['commits']}+{found['commit']}{'.dirty' if found['dirty'] else ''}"


def _git(root: Path, *arguments: str) -> str:
  try:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30)
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return done.stdout.strip() if done.returncode == 0 else ""


def dynamic_metadata(_settings: Mapping[str, Any], _project: Mapping[str, Any]) -> dict[str, str]:
  """The field that the build backend asks for, in the folder of the project."""
  return {"version": version_of(Path.cwd())}


__all__ = ["FALLBACK", "dynamic_metadata", "version_of"]
