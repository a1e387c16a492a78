"""Source files of user-defined networks in a model folder. They are stored with the model and never executed."""

import ast
import logging
import re
import sys
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import atomic_file
from jaxface.models.own import SourceFile, is_own, own_networks, source_of
from jaxface.models.registry import list_models

_log = logging.getLogger(__name__)
_ENTRY = {"name", "file", "sha256", "original"}


class MissingNetwork(ValueError):
  """A model whose network is not registered; the message says which file to give."""


def keep_sources(folder: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
  """Write the source of a model's user-defined networks, and return the index of the files.

  An existing file with another text may belong to the current model until model.json is replaced: it is left, and the new text
  is written under a name with its digest. Modules that the source imports from its own folder are not stored, with a warning.

  Args:
    folder: folder of the model.
    name: name of its network.
    options: options of the network.
  Returns:
    The entry `networks` of model.json, or nothing for a network of jaxface. A network without a file, such as from a
    notebook, has "" for the file.
  """
  entries = []
  for network in own_networks(name, options):
    source = source_of(network)
    if source is None:
      entries.append({"name": network, "file": "", "sha256": "", "original": ""})
      continue
    if beside := neighbours(source):
      _log.warning(
        "note: %s imports %s from its own folder, which the model folder does not store: move the code into the file, install"
        " it, or keep a copy; the network cannot be created without it", source.path, ", ".join(beside),
      )
    file = f"network_{network}.py"
    if (folder / file).is_file() and (folder / file).read_bytes() != source.text:
      file = f"network_{network}-{source.sha256[:16]}.py"
    with atomic_file(folder / file) as out:
      out.write(source.text)
    entries.append({"name": network, "file": file, "sha256": source.sha256, "original": source.path.name})
  return {"networks": entries} if entries else {}


def drop_sources(folder: Path, kept: dict[str, Any]) -> None:
  """Remove other versions of the same networks' sources, which belonged to replaced models.

  Args:
    folder: folder of the model.
    kept: result of `keep_sources`.
  """
  entries = kept.get("networks", [])
  for left in folder.glob("network_*.py"):
    if any(_is_copy(left.name, entry["name"]) and left.name != entry["file"] for entry in entries):
      left.unlink(missing_ok=True)


def neighbours(source: SourceFile) -> list[str]:
  """Modules that a Python file imports from its own folder, or by a relative import, in order; executes nothing."""
  folder = source.path.resolve().parent
  try:
    tree = ast.parse(source.text)
  except SyntaxError:  # edited since it was executed
    return []
  found: dict[str, None] = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.level:
      names = [node.module] if node.module else [alias.name for alias in node.names]
      found |= dict.fromkeys("." * node.level + name for name in names)
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
      names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
      found |= dict.fromkeys(top for top in (name.partition(".")[0] for name in names) if _lies_in(folder, top))
  return list(found)


def _lies_in(folder: Path, name: str) -> bool:
  """Whether a module is a file or package in `folder`, unless that is a folder of installed packages."""
  if name == "jaxface" or folder.name in ("site-packages", "dist-packages"):
    return False
  loaded = sys.modules.get(name)
  if loaded is not None:
    file = getattr(loaded, "__file__", None)
    places = [file] if file else list(getattr(loaded, "__path__", []))
    return any(Path(place).resolve().is_relative_to(folder) for place in places)
  return (folder / f"{name}.py").is_file() or any((folder / name).glob("*.py"))


def check_sources(path: Path, plain: dict[str, Any]) -> None:
  """Check that the networks of a model are registered, and from the file that it was made with; executes nothing.

  Warns if a network comes from another file than the model's: its variables may fit, but its results may differ.

  Args:
    path: the model folder.
    plain: contents of its model.json.
  Raises:
    MissingNetwork: a network is not registered, or is another one of the same name.
  """
  known = list_models()
  entries = plain.get("networks", [])
  if not isinstance(entries, list) or not all(map(_is_entry, entries)):
    raise MissingNetwork(f"{path / 'model.json'}: entry 'networks' is {entries!r:.100}, expected a list of {sorted(_ENTRY)}")
  for entry in entries:
    name, kept = entry["name"], path / (entry["file"] or ".")
    has_copy = kept.is_file()
    way = f"read {kept}, and if you trust it, give --network {kept}" if has_copy else "give its file with --network FILE"
    if name not in known:
      was = f"which came from {entry['original']}" if entry["original"] else "which was defined in no file"
      raise MissingNetwork(
        f"{path}: its network {name!r}, {was}, is user code, which is not executed automatically: {way}"
        " (in Python: jaxface.models.own.load_networks)"
      )
    if not is_own(name):
      raise MissingNetwork(f"{path}: its network {name!r} is user-defined, not jaxface's network of the same name: rename it")
    source = source_of(name)
    if entry["sha256"] and (source is None or source.sha256 != entry["sha256"]):
      _log.warning(
        "note: network %r of %s was made with another version of %s than the registered one; the original source is %s",
        name, path, entry["original"], kept if has_copy else "not kept",
      )


def _is_entry(entry: Any) -> bool:
  texts = isinstance(entry, dict) and set(entry) == _ENTRY and all(isinstance(text, str) for text in entry.values())
  # Both are used in file names.
  return texts and entry["name"].isidentifier() and (not entry["file"] or _is_copy(entry["file"], entry["name"]))


def _is_copy(file: str, network: str) -> bool:
  return re.fullmatch(rf"network_{network}(-[0-9a-f]{{16}})?\.py", file) is not None


__all__ = ["MissingNetwork", "check_sources", "drop_sources", "keep_sources", "neighbours"]
