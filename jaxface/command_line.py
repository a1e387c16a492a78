"""Runs a program with subcommands: the table, a parser per command, one-sentence errors, exit codes.

A command is a module with a docstring, which is its help, and `run(parser, arguments)`, which parses, calls one public
function and prints. An optional `RERUN` says what Ctrl-C leaves and what a rerun does.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

import jaxface
from jaxface.interrupted import BEGINS_ANEW, of_the_user, say_interrupted, was_asked

# name: (module, one line for --help). Modules are imported when called: `--help` alone loads no JAX.
Commands = Mapping[str, tuple[str, str]]


def run_command(
  program: str, description: str | None, commands: Commands, arguments: Sequence[str], *,
  before: Callable[[str], None] | None = None,
) -> int:
  """Runs one subcommand.

  Args:
    program: what was called, such as "jaxface".
    description: description of the program, for --help.
    commands: table of the subcommands.
    arguments: command-line arguments, without the program's name.
    before: called with the command's name before its module is imported.
  Returns:
    The exit code. 0: success. 1: the check was done and found faults. 2: wrong arguments or input. 75: interrupted; the same
    command resumes, or starts again if no intermediate results are saved: the message says which.
  """
  parser = argparse.ArgumentParser(prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--version", action="version", version=f"jaxface {jaxface.__version__}")
  parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
  table = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
  for name, (_, line) in commands.items():
    table.add_parser(name, help=line, add_help=False)
  given = list(arguments)
  known, _ = parser.parse_known_args(given)
  called = f"{program.removeprefix('python -m ')} {known.command}"
  rerun = BEGINS_ANEW
  try:
    if before:
      before(known.command)
    module = importlib.import_module(commands[known.command][0])
    rerun = getattr(module, "RERUN", BEGINS_ANEW)
    own = argparse.ArgumentParser(
      prog=f"{program} {known.command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return module.run(own, given[given.index(known.command) + 1 :]) or 0
  except KeyboardInterrupt:
    if known.traceback:
      raise
    return say_interrupted(called, rerun)
  except Exception as error:
    if was_asked() and not known.traceback:  # an interruption that code in between turned into another error
      return say_interrupted(called, rerun)
    # Errors that the user can fix need no traceback; bugs of jaxface do.
    if known.traceback or not of_the_user(error):
      raise
    print(f"{called}: {error}", file=sys.stderr)
    return 2


def listing(lines: Mapping[str, str]) -> str:
  """Lines with a name and its text in two columns."""
  return "\n".join(f"{name:20} {text}" for name, text in lines.items())


__all__ = ["Commands", "listing", "run_command"]
