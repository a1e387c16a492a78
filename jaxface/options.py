"""Options shared by several commands.

Modules that import JAX are imported inside functions, so that `tfrecords_tools` does not load it.
"""

import argparse
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxface.geometry.templates import TEMPLATES


def add_model(parser: argparse.ArgumentParser) -> None:
  """Declare --model for an existing model, and --network; `load_network` fills in the default model."""
  parser.add_argument(
    "--model", metavar="DIR", help="model directory, or workdir of a training run (default: that of `jaxface use`)"
  )
  parser.set_defaults(default_model=True)
  add_network(parser)


def add_network(parser: argparse.ArgumentParser) -> None:
  """Declare --network, for commands that may load a user-defined network."""
  parser.add_argument(
    "--network", metavar="FILE", default="",
    help="Python file of your own networks (docs/own_network.md); it is executed, so give only a file that you trust",
  )


def load_network(options: argparse.Namespace) -> None:
  """Execute the file that --network names, if one is given, and replace a missing --model by the user's default."""
  if options.network:
    from jaxface.models.own import load_networks

    load_networks(options.network)
  if getattr(options, "default_model", False) and not options.model:
    from jaxface.inference.chosen_model import model_path

    options.model = str(model_path(None))


def add_detector(parser: argparse.ArgumentParser) -> None:
  """Declare --detector."""
  parser.add_argument(
    "--detector", metavar="DIR", help="folder of a detector that `jaxface import` wrote, or its name (default: mtcnn, see `jaxface detect --help`)"
  )


def add_which(parser: argparse.ArgumentParser, default: str = "main", *, several: bool = False) -> None:
  """Declare --which, the faces of a photo that are taken.

  Args:
    parser: the command's parser.
    default: one of `jaxface.pipeline.photos.faces.WHICH`.
    several: whether the command can take all faces.
  """
  from jaxface.pipeline.photos.faces import ONE, WHICH

  parser.add_argument(
    "--which", choices=WHICH if several else ONE, default=default,
    help="of several faces in a photo: the main one, large and near the centre; the largest; the most central"
         f"{'; or all' if several else ''} (default: %(default)s)",
  )


def add_threshold(parser: argparse.ArgumentParser) -> None:
  """Declare --threshold, for commands that decide."""
  parser.add_argument(
    "--threshold", type=float, metavar="SCORE",
    help="the same person if the cosine, or the verifier's score where one is given, is at least this (default: the measured one, of the model's folder"
    " or the verifier's file, see `jaxface threshold --help`)",
  )


def add_verifier(parser: argparse.ArgumentParser) -> None:
  """Declare --verifier, for commands that compare photos."""
  parser.add_argument(
    "--verifier", metavar="FILE", help="score faces by this verifier of the model's embeddings instead of the cosine, see `jaxface verifier --help`"
  )


def add_mirror(parser: argparse.ArgumentParser, default: str, prefix: str = "") -> None:
  """Declare --mirror.

  Args:
    parser: the command's parser.
    default: one of `MIRRORS`.
    prefix: prefix of the help text.
  """
  from jaxface.evaluation.config import MIRRORS

  parser.add_argument(
    "--mirror", choices=MIRRORS, default=default,
    help=f"{prefix}embedding of the mirrored image: add it, concatenate it, or do not compute it (default: %(default)s)",
  )


def add_crops(parser: argparse.ArgumentParser, prefix: str = "") -> None:
  """Declare --crops; `prefix` of the help text."""
  from jaxface.inference.crops import CROPS

  parser.add_argument(
    "--crops", choices=CROPS, default="one",
    help=f"{prefix}embed the face, or the mean over its corners and its middle, with --mirror sum ten crops, or the same at three sizes"
    " (thirty), as VGG-Face does; 5 and 15 times slower (default: %(default)s)",
  )


def add_align(parser: argparse.ArgumentParser) -> None:
  """Declare --align, with --which and --detector, for commands that embed --images; see `aligned_images`."""
  parser.add_argument(
    "--align", nargs="?", const="", metavar="DIR",
    help="find one face of each photo of --images and align it first, in this folder (default: a temporary one)",
  )
  add_which(parser)
  add_detector(parser)


def aligned_images(parser: argparse.ArgumentParser, options: argparse.Namespace, stack: ExitStack) -> str:
  """Folder of the faces that are to be embedded: --images, or its aligned faces if --align is given.

  Args:
    parser: for errors of use.
    options: with `add_align` and `add_model`; the network and --model are loaded.
    stack: removes a temporary folder when it is closed.
  """
  if options.align is None:
    return str(options.images)
  if not Path(options.images or "").is_dir():
    parser.error("--align needs --images with a folder of photos")
  from jaxface.inference.model import load
  from jaxface.pipeline.photos.align_folder import align_photos
  from jaxface.pipeline.photos.decision import template_of
  from jaxface.pipeline.say import say

  folder = options.align or stack.enter_context(tempfile.TemporaryDirectory(prefix="jaxface-aligned-"))
  made = align_photos(
    options.images, folder, template=options.template or template_of(load(options.model)), which=options.which,
    detector=options.detector, sheet=bool(options.align), progress=sys.stderr.isatty(), say=say,
  )
  say(made.summary())
  return str(folder)


def add_faces(parser: argparse.ArgumentParser) -> None:
  """Declare --images and --records with what embedding them needs, for commands that otherwise take --embeddings."""
  given = parser.add_mutually_exclusive_group()
  given.add_argument("--images", metavar="PATH", help="with --model: folder of aligned images, searched to any depth; of photos with --align")
  given.add_argument("--records", metavar="DIR", help="with --model: packed records")
  add_align(parser)
  add_template(parser, "alignment template of --images, if known (default: unknown)")
  parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="with --model: images per batch (default: 128)")
  parser.add_argument("--devices", type=int, default=0, metavar="N", help="with --model: number of this host's devices to use (default: all)")


def faces_of(parser: argparse.ArgumentParser, options: argparse.Namespace, stack: ExitStack) -> Any:
  """The folder or the records of `add_faces`, with the network and --model loaded; None where --embeddings is given instead.

  `stack` removes a temporary folder of aligned faces when it is closed.
  """
  faces = options.records or options.images
  if (options.model and not faces) or not (faces or options.embeddings):
    parser.error("give --embeddings FILE, or --images PATH or --records DIR with --model DIR")
  if options.align is not None and not options.images:
    parser.error("--align needs --images with a folder of photos")
  if not faces:
    return None
  load_network(options)
  from jaxface.data.config import open_records

  return open_records(faces) if options.records else aligned_images(parser, options, stack)


def add_template(parser: argparse.ArgumentParser, text: str) -> None:
  """Declare --template; `text` is its help."""
  parser.add_argument("--template", choices=[*TEMPLATES, "none"], default="", help=text)


def add_provenance(parser: argparse.ArgumentParser, what: str, use: str) -> None:
  """Declare --licence and --origin.

  Args:
    parser: the command's parser.
    what: "images" or "weights".
    use: how the licence is used, for its help.
  """
  parser.add_argument("--licence", "--license", default="", metavar="TEXT", help=f"of the {what}; {use} (default: unknown)")
  parser.add_argument(
    "--origin", default="", metavar="TEXT", help=f"author or source of the {what} (default: unknown)"
  )


def add_packed(parser: argparse.ArgumentParser) -> None:
  """Declare OUT, the packed set that a tool reads."""
  parser.add_argument("out", metavar="OUT", help="packed set")


def add_processes(parser: argparse.ArgumentParser) -> None:
  """Declare --processes."""
  parser.add_argument("--processes", type=int, metavar="N", help="number of processes (default: chosen by the amount of data)")


def image_size(text: str) -> tuple[int, int]:
  """Reads "112" as 112×112 and "112x96" as 112 high, 96 wide.

  Raises:
    argparse.ArgumentTypeError: anything else.
  """
  match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
  if not match:
    raise argparse.ArgumentTypeError(f"{text!r} should be N, or HEIGHTxWIDTH, in pixels")
  return int(match[1]), int(match[2] or match[1])


__all__ = [
  "add_align",
  "add_crops",
  "add_detector",
  "add_faces",
  "add_mirror",
  "add_model",
  "add_network",
  "add_packed",
  "add_processes",
  "add_provenance",
  "add_template",
  "add_threshold",
  "add_verifier",
  "add_which",
  "aligned_images",
  "faces_of",
  "image_size",
  "load_network",
]
