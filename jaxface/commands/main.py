"""`jaxface`: the table of its subcommands."""

import sys
from collections.abc import Sequence

import jaxface
from jaxface.command_line import run_command
from jaxface.commands.malloc import keep_memory
from jaxface.interrupted import sigterm_interrupts

# Commands that compute on large arrays.
HEAVY = ("train", "embed", "models")

COMMANDS = {
  "train": ("jaxface.commands.train", "train, verify, report and export: an experiment by name or path"),
  "embed": ("jaxface.commands.embed", "embeddings of records or of a folder of images"),
  "evaluate": ("jaxface.commands.evaluate", "verification figures of embeddings on a pair list"),
  "import": ("jaxface.commands.import_model", "make a model directory from somebody else's weights"),
  "export": ("jaxface.commands.export", "write a model as one file: ONNX with its preprocessing, or safetensors"),
  "synthesize": ("jaxface.commands.synthesize", "render a folder of synthetic faces"),
  "experiments": ("jaxface.commands.experiments", "list the experiments that `train` knows"),
  "models": ("jaxface.commands.models", "list the networks"),
  "doctor": ("jaxface.commands.doctor", "versions, devices, and what is missing on this machine"),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Run one subcommand; returns the exit code, see `run_command`."""
  given = list(sys.argv[1:] if arguments is None else arguments)

  def before(command: str) -> None:
    if arguments is not None:
      return
    if command in HEAVY:
      keep_memory(given)
    sigterm_interrupts()

  return run_command("jaxface", jaxface.__doc__, COMMANDS, given, before=before)


if __name__ == "__main__":
  sys.exit(main())
