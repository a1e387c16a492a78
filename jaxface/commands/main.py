"""`jaxface`: the table of its subcommands."""

import sys
from collections.abc import Sequence

import jaxface
from jaxface.command_line import run_command
from jaxface.commands.malloc import keep_memory
from jaxface.commands.xla import use_flags
from jaxface.interrupted import sigterm_interrupts

# Commands that compute on large arrays.
HEAVY = ("train", "align", "cluster", "detect", "embed", "models", "papers", "patches", "sweep", "threshold", "verifier")

COMMANDS = {
  "train": ("jaxface.commands.train", "run an experiment, by name or path: train, verify, report, export"),
  "plan": ("jaxface.commands.plan", "say whether a run fits devices that are not here, how fast it should be, and its cost"),
  "detect": ("jaxface.commands.detect", "find faces in photos: boxes, scores and five points"),
  "align": ("jaxface.commands.align", "find the faces of a folder of photos and align them"),
  "compare": ("jaxface.commands.compare", "say whether two photos show the same person"),
  "enrol": ("jaxface.commands.enrol", "add people to a gallery"),
  "identify": ("jaxface.commands.identify", "find the people of a gallery in a photo"),
  "cluster": ("jaxface.commands.cluster", "group the faces of a folder of photos by person"),
  "embed": ("jaxface.commands.embed", "compute embeddings of packed records or of a folder of images"),
  "evaluate": ("jaxface.commands.evaluate", "compute verification figures of embeddings on a pair list"),
  "report": ("jaxface.commands.report", "make one HTML page of evaluations: curves, thresholds, hardest pairs, comparisons"),
  "sweep": ("jaxface.commands.sweep", "compute figures at levels of image quality, embedding size, or by models"),
  "slices": ("jaxface.commands.slices", "compute figures per group of people or images, with differences"),
  "threshold": ("jaxface.commands.threshold", "measure the threshold of a model at a false-accept rate, for its folder"),
  "verifier": ("jaxface.commands.verifier", "fit a learned score of two embeddings, or describe one"),
  "search": ("jaxface.commands.search", "find the most similar embeddings of a gallery for every probe"),
  "patches": ("jaxface.commands.patches", "select patches of an ensemble by their accuracy, and take their features"),
  "leaks": ("jaxface.commands.leaks", "find images and identities of a test set in a training set"),
  "import": ("jaxface.commands.import_model", "convert external weights to a model directory"),
  "export": ("jaxface.commands.export", "write a model as one file: ONNX with preprocessing, or safetensors"),
  "push": ("jaxface.commands.push", "copy a model to a bucket, another folder or a repository of Hugging Face"),
  "pull": ("jaxface.commands.pull", "copy a model from there, and check each file"),
  "synthesize": ("jaxface.commands.synthesize", "render a folder of synthetic faces"),
  "use": ("jaxface.commands.use", "set the model that commands take where none is given"),
  "experiments": ("jaxface.commands.experiments", "list the experiments of `train`"),
  "models": ("jaxface.commands.models", "list the networks"),
  "papers": ("jaxface.commands.papers", "list the papers with their figures and those measured here"),
  "doctor": ("jaxface.commands.doctor", "print versions, devices, and missing packages of this machine; compare the processes of a cluster"),
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Run one subcommand; returns the exit code, see `run_command`."""
  given = list(sys.argv[1:] if arguments is None else arguments)

  def before(command: str) -> None:
    if arguments is not None:
      return
    if command in HEAVY:
      use_flags(given if command == "train" else [])
      keep_memory(given)
    sigterm_interrupts()

  return run_command("jaxface", jaxface.__doc__, COMMANDS, given, before=before)


if __name__ == "__main__":
  sys.exit(main())
