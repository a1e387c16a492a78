"""Print versions, devices, and missing packages of this machine; --cluster compares the processes of a run before it starts.

  jaxface doctor
  jaxface doctor --cluster EXPERIMENT --workdir DIR --mesh.distributed true
  for i in 0 1; do jaxface doctor --cluster --mesh.coordinator localhost:12345 --mesh.processes 2 --mesh.process_id $i & done; wait

Start --cluster as the training: once per process, with the same experiment, folder and options. It lists processes, devices, mesh and
rows of a batch per process; tries to write to the folder; compares versions and digests of code, fields and data; and measures an
all-reduce over each axis of the mesh, within each process and between neighbours, beside the published bandwidth of the links. A fault
names the process that differs and what it has. Exit code 1: faults were found.
"""

import argparse

import jax

from jaxface.command_line import listing
from jaxface.commands.train import parse_overrides
from jaxface.formats.atomic import write_json
from jaxface.pipeline.cluster import check_cluster
from jaxface.pipeline.installation import describe_installation
from jaxface.training.config import MeshConfig, load_any_experiment
from jaxface.training.overrides import override_all


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
  """Print the list, or compare processes and print what was found."""
  parser.add_argument(
    "--cluster", nargs="?", const="", metavar="EXPERIMENT", help="compare the processes of a run, and the fields and data of its experiment"
  )
  parser.add_argument("--small", action="store_true", help="with --cluster: the experiment's small form")
  parser.add_argument("--workdir", metavar="DIR", help="with --cluster: try to write to this folder, which all must share")
  parser.add_argument(
    "--expect", metavar="[NAME=]GB/s", action="append", default=[],
    help="bandwidth that an all-reduce (NAME as in the table, or all) should reach, in place of the published figure; may be repeated",
  )
  parser.add_argument("--megabytes", type=float, default=0.0, metavar="MB", help="size of an all-reduce per device (default: 64, 4 on CPUs)")
  parser.add_argument("--json", metavar="FILE", help="with --cluster: process 0 also writes the report to this file")
  parser.add_argument("--ANY.FIELD", metavar="VALUE", help="with --cluster: set any field of the experiment, such as --mesh.distributed true")
  options, rest = parser.parse_known_args(arguments)
  if options.cluster is None:
    if rest:
      parser.error(f"unrecognized without --cluster: {' '.join(rest)}")
    print(listing(describe_installation()))
    return 0
  given = parse_overrides(rest)
  named = options.cluster
  experiment = load_any_experiment(named, small=options.small)[0].with_overrides(given) if named else None
  mesh = None if named else mesh_of(given)
  report = check_cluster(
    experiment, options.workdir, mesh=mesh, expect=dict(map(parse_expected, options.expect)), megabytes=options.megabytes,
  )
  first = jax.process_index() == 0
  print(report if first else "\n".join(report.faults) or "no fault")
  if options.json and first:
    write_json(options.json, report.to_json())
  return int(bool(report.faults))


def mesh_of(given: dict[str, str]) -> MeshConfig:
  """The mesh of options without an experiment.

  Raises:
    ValueError: an option that is none of the mesh's.
  """
  if others := [name for name in given if not name.startswith("mesh.")]:
    raise ValueError(f"--{others[0]} is a field of an experiment: name one, or give only --mesh.… options")
  return override_all(MeshConfig(), {name.removeprefix("mesh."): value for name, value in given.items()})


def parse_expected(text: str) -> tuple[str, float]:
  """`data=100` as ("data", 100.0), `100` as ("", 100.0).

  Raises:
    ValueError: no number above 0.
  """
  name, _, number = text.rpartition("=")
  try:
    rate = float(number)
  except ValueError:
    rate = 0.0
  if not rate > 0:
    raise ValueError(f"--expect {text}: needs GB/s above 0, for all or as NAME=GB/s")
  return name, rate
