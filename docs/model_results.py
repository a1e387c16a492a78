"""Results of each network in docs/models.json, one entry per network and kind of result."""

import json
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import write_json

FILE = Path(__file__).with_name("models.json")


def read_all() -> dict[str, dict[str, Any]]:
  """Results by network and kind."""
  return json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}


def read_results(name: str) -> dict[str, Any]:
  """Results of one network by kind: "figures", "speed", "sweep", as far as available."""
  return read_all().get(name, {})


def keep_result(name: str, kind: str, result: Any) -> None:
  """Add a result to the file, or replace an older one."""
  results = read_all()
  results[name] = dict(sorted({**results.get(name, {}), kind: result}.items()))
  write_json(FILE, dict(sorted(results.items())))
