"""Plans a run and writes what was found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxface.formats.atomic import write_json
from jaxface.planning.make import Plan, plan
from jaxface.planning.page import write_page
from jaxface.planning.text import plain


def plan_run(
  experiment: str, topology: str, *, out: str | Path | None = None, json: str | Path | None = None, command: str = "",
  say: Callable[[str], object] = lambda line: None, **options: Any,
) -> Plan:
  """`plan`, with files.

  Args:
    experiment: name or path.
    topology: devices, see `jaxface.planning.parse_topology`.
    out: HTML page to write; None for none.
    json: file for all figures; None for none.
    command: command that makes it, for the page.
    say: called with lines of progress.
    options: of `plan`.
  """
  found = plan(experiment, topology, say=say, **options)
  if out is not None:
    write_page(out, found, command)
  if json is not None:
    write_json(json, plain(found))
  return found


__all__ = ["plan_run"]
