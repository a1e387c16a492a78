"""Source files of user-defined networks in a model folder. They are stored with the model and never executed."""

import logging
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import atomic_file
from jaxface.models.own import is_own, own_networks, source_of
from jaxface.models.registry import list_models

_log = logging.getLogger(__name__)
_ENTRY = {"name", "file", "sha256", "original"}


class MissingNetwork(ValueError):
  """A model whose network is not registered; the message says which file to give."""


def keep_sources(folder: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
  """Write the source of a model's user-defined networks, and return the index of the files.

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
    file = f"network_{network}.py"
    with atomic_file(folder / file) as out:
      out.write(source.text)
    entries.append({"name": network, "file": file, "sha256": source.sha256, "original": source.path.name})
  return {"networks": entries} if entries else {}


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
    name, kept = entry["name"], path / f"network_{entry['name']}.py"
    has_copy = bool(entry["file"]) and kept.is_file()
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
  return texts and entry["name"].isidentifier()  # used in a file name


__all__ = ["MissingNetwork", "check_sources", "keep_sources"]
