"""The source of the user's own networks in a model folder: kept when it is saved, named when it is missing, never executed."""

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
  """Write the source of the user's networks in a model, and say what stands in which file.

  Args:
    folder: of the model.
    name: of its network.
    options: of it.
  Returns:
    The entry `networks` of model.json, or nothing for a network of jaxface's. A network without a file, as from a notebook,
    has "" in the place of the file.
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
  """See that the networks of a model are registered, and by the file that it was made with; executes nothing.

  A network from another file than the model's is told in a warning: its variables may fit, and its numbers still differ.

  Args:
    path: the model folder.
    plain: what its model.json says.
  Raises:
    MissingNetwork: one is not registered, or is another one of the same name.
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
        f"{path}: its network {name!r}, {was}, is the user's own code, which is not executed unasked: {way}"
        " (in Python: jaxface.models.own.load_networks)"
      )
    if not is_own(name):
      raise MissingNetwork(f"{path}: its network {name!r} is the user's own, and not jaxface's of the same name: rename it")
    source = source_of(name)
    if entry["sha256"] and (source is None or source.sha256 != entry["sha256"]):
      _log.warning(
        "note: network %r of %s was made with another text of %s than the one now registered; the one it was made with is %s",
        name, path, entry["original"], kept if has_copy else "not kept",
      )


def _is_entry(entry: Any) -> bool:
  texts = isinstance(entry, dict) and set(entry) == _ENTRY and all(isinstance(text, str) for text in entry.values())
  return texts and entry["name"].isidentifier()  # it names a file


__all__ = ["MissingNetwork", "check_sources", "keep_sources"]
