"""What has been measured of each network: docs/models.json, one entry per network and kind of result."""

import json
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import write_json

FILE = Path(__file__).with_name("models.json")


def read_all() -> dict[str, dict[str, Any]]:
  """Results by kind by network."""
  return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def read_results(name: str) -> dict[str, Any]:
  """Results of one network by kind: "figures", "speed", "sweep"; those that there are."""
  return read_all().get(name, {})


def keep_result(name: str, kind: str, result: Any) -> None:
  """Add one to the file, in the place of an older one."""
  results = read_all()
  results[name] = dict(sorted({**results.get(name, {}), kind: result}.items()))
  write_json(FILE, dict(sorted(results.items())))
