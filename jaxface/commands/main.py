"""`jaxface`: one table of subcommands, and errors that say what is wrong without a traceback."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import jaxface
from jaxface.commands.malloc import keep_memory
from jaxface.interrupted import BEGINS_ANEW, say_interrupted

# Commands that compute on large arrays.
HEAVY = ("train", "embed", "models")

# name: (module, one line for --help). Modules are imported when called: `jaxface --help` loads no JAX.
COMMANDS = {
  "train": ("train", "train, verify, report and export: an experiment by name or path"),
  "embed": ("embed", "embeddings of records or of a folder of images"),
  "evaluate": ("evaluate", "verification figures of embeddings on a pair list"),
  "import": ("import_model", "make a model directory from somebody else's weights"),
  "export": ("export", "write a model as one file: ONNX with its preprocessing, or safetensors"),
  "synthesize": ("synthesize", "render a folder of synthetic faces"),
  "experiments": ("experiments", "list the experiments that `train` knows"),
  "models": ("models", "list the networks"),
  "doctor": ("doctor", "versions, devices, and what is missing on this machine"),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Run one subcommand; returns the exit code.

  0: done. 1: the job was done and its answer is bad. 2: something is wrong with what was asked or given.
  75: interrupted; the same command goes on, or begins anew where nothing is saved in between: the message says which.
  """
  parser = argparse.ArgumentParser(prog="jaxface", description=jaxface.__doc__)
  parser.add_argument("--version", action="version", version=f"jaxface {jaxface.__version__}")
  parser.add_argument("--traceback", action="store_true", help="show where an error arose")
  table = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
  given = list(sys.argv[1:] if arguments is None else arguments)
  for name, (_, line) in COMMANDS.items():
    table.add_parser(name, help=line, add_help=False)
  known, _ = parser.parse_known_args(given)
  if arguments is None and known.command in HEAVY:
    keep_memory(given)
  rest = given[given.index(known.command) + 1 :]
  rerun = BEGINS_ANEW
  try:
    module = importlib.import_module(f"jaxface.commands.{COMMANDS[known.command][0]}")
    rerun = getattr(module, "RERUN", BEGINS_ANEW)
    own = argparse.ArgumentParser(
      prog=f"jaxface {known.command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return module.run(own, rest) or 0
  except KeyboardInterrupt:
    if known.traceback:
      raise
    return say_interrupted(f"jaxface {known.command}", rerun)
  except Exception as error:
    # What the user can mend needs no traceback; what only we can mend does.
    ours = type(error).__module__.startswith(("jaxface", "tfrecords_tools"))
    if known.traceback or not (ours or isinstance(error, (ValueError, OSError, ImportError))):
      raise
    print(f"jaxface {known.command}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main())
