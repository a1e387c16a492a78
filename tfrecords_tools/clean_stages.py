"""The stages of `tfrecords_tools clean`: of each its options, and the call of its public function."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxface.options import add_detector, add_template

Say = Mapping[str, Any]  # progress and say


def _folder(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("folder", metavar="FOLDER", help="folder of faces, a folder per person")
  parser.add_argument("--list", metavar="FILE", help="path and person per line, instead of a folder per person")
  parser.add_argument("--work", metavar="DIR", help="folder of results and pages (default: FOLDER.cleaning)")


def _faces(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
  _folder(parser)
  parser.add_argument("--model", metavar="DIR", help="model that embeds the images")
  parser.add_argument("--embeddings", metavar="FILE", nargs="+" if several else None, help="file of `jaxface embed` instead of --model")
  add_template(parser, "alignment template of the images, if known")


def _place(options: argparse.Namespace) -> dict[str, Any]:
  return {"work": options.work, "list_file": options.list}


def _net(options: argparse.Namespace) -> dict[str, Any]:
  return {"model": options.model, "template": options.template, **_place(options)}


def _declare_names(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("candidates", metavar="CANDIDATES", help="a name per line, by popularity, or with a tab and a number, higher for the more popular")
  parser.add_argument("--test", metavar="PATH", help="names of the test set: such a file, or a folder per person")
  parser.add_argument("--count", type=int, metavar="N", help="how many candidates stay (default: all)")
  parser.add_argument("--embeddings", nargs=2, metavar=("CANDIDATES", "TEST"), help="files of `jaxface embed`: also remove people who look alike")
  parser.add_argument("--similarity", type=float, metavar="COSINE", help="with --embeddings: cosine from which two images may show one person")
  parser.add_argument("--out", metavar="FILE", help="file to write, a name per line")
  parser.add_argument("--page", metavar="FILE", help="report page to write")


def _names(api: ModuleType, options: argparse.Namespace, _: Say) -> list[str]:
  faces = tuple(options.embeddings) if options.embeddings else None
  made = api.clean_names(options.candidates, options.test, count=options.count, embeddings=faces, similarity=options.similarity, out=options.out, page=options.page)
  return [*(f"removed: {name}: {why}" for name, why in made.removed[:20]), made.summary()]


def _declare_intake(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("photos", metavar="PHOTOS", help="a folder per person, an archive (.zip, .tar) of one, or any folder with --list")
  parser.add_argument("--out", required=True, metavar="DIR", help="folder of the faces")
  parser.add_argument("--list", metavar="FILE", help="path and person per line")
  parser.add_argument("--boxes", metavar="FILE", help="CSV with path, x0, y0, x1, y1: crop these boxes instead of detecting faces")
  parser.add_argument("--margin", type=float, default=0.2, metavar="SHARE", help="with --boxes: added on each side (default: %(default)s)")
  parser.add_argument("--size", type=int, default=112, metavar="N", help="with --boxes: side of the faces (default: %(default)s)")
  add_detector(parser)
  add_template(parser, "alignment template, without --boxes (default: arcface112)")


def _intake(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  made = api.clean_intake(
    options.photos, options.out, list_file=options.list, boxes=options.boxes, margin=options.margin, size=options.size,
    detector=options.detector, template=options.template or "arcface112", **say,
  )
  return [made.summary()]


def _declare_rank(parser: argparse.ArgumentParser) -> None:
  _faces(parser)
  parser.add_argument("--keep", type=int, required=True, metavar="N", help="how many images of a person stay")
  parser.add_argument("--cost", type=float, default=1.0, metavar="C", help="of the support-vector machines (default: %(default)s)")


def _rank(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  return [api.clean_rank(options.folder, keep=options.keep, cost=options.cost, embeddings=options.embeddings, **_net(options), **say).summary()]


def _declare_duplicates(parser: argparse.ArgumentParser) -> None:
  _folder(parser)
  parser.add_argument("--distance", type=int, default=40, metavar="BITS", help="of 256, between perceptual hashes (default: %(default)s)")
  parser.add_argument("--similarity", type=float, default=0.8, metavar="COSINE", help="between VLAD vectors (default: %(default)s)")


def _duplicates(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  return [api.clean_duplicates(options.folder, distance=options.distance, similarity=options.similarity, **_place(options), **say).summary()]


def _declare_noise(parser: argparse.ArgumentParser) -> None:
  _faces(parser, several=True)
  parser.add_argument("--folds", metavar="FILE", help="with several --embeddings: path, tab, and number of the file whose network has not seen the image")
  parser.add_argument("--accept", type=float, default=0.5, metavar="P", help="leave out from this probability (default: %(default)s)")


def _noise(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  made = api.clean_noise(options.folder, embeddings=options.embeddings or (), folds=options.folds, accept=options.accept, **_net(options), **say)
  return [made.summary()]


def _declare_people(parser: argparse.ArgumentParser) -> None:
  _faces(parser)
  parser.add_argument("--accept", type=float, default=0.9, metavar="P", help="move from this probability (default: %(default)s)")
  parser.add_argument("--neighbours", type=int, default=5, metavar="K", help="mutual nearest neighbours (default: %(default)s)")


def _people(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  made = api.clean_people(options.folder, accept=options.accept, neighbours=options.neighbours, embeddings=options.embeddings, **_net(options), **say)
  return [made.summary()]


def _declare_blocks(parser: argparse.ArgumentParser) -> None:
  _faces(parser)
  parser.add_argument("--size", type=int, default=200, metavar="N", help="images of a block (default: %(default)s)")
  parser.add_argument("--decisions", metavar="FILE", help="file that the page saved: take it as the result")


def _blocks(api: ModuleType, options: argparse.Namespace, say: Say) -> list[str]:
  if options.decisions:
    return [api.apply_blocks(options.folder, options.decisions, say=say["say"], **_place(options)).summary()]
  return [api.clean_blocks(options.folder, size=options.size, embeddings=options.embeddings, **_net(options), **say).summary()]


def _declare_list(parser: argparse.ArgumentParser) -> None:
  _folder(parser)
  parser.add_argument("--out", metavar="FILE", help="file to write, for `pack --leave-out`")


def _list(api: ModuleType, options: argparse.Namespace, _: Say) -> list[str]:
  made = api.clean_list(options.folder, options.out, **_place(options))
  return [str(made), *([f"{Path(options.out)}: {len(made.proposals):,} images"] if options.out else [])]


STAGES: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[ModuleType, argparse.Namespace, Say], list[str]]]] = {
  "names": ("candidate names: remove those of a test set, keep the most popular", _declare_names, _names),
  "intake": ("photos from a folder, an archive or a list: find and crop the faces", _declare_intake, _intake),
  "rank": ("rank each person's images by a support-vector machine, keep the best", _declare_rank, _rank),
  "duplicates": ("find equal and near-identical images, also across people", _declare_duplicates, _duplicates),
  "noise": ("find images whose label is probably wrong", _declare_noise, _noise),
  "people": ("find two people in one folder, and one person in two", _declare_people, _people),
  "blocks": ("a page on which a person accepts or rejects images", _declare_blocks, _blocks),
  "list": ("write the list of what a pack leaves out, and print the table of stages", _declare_list, _list),
}

__all__ = ["STAGES"]
