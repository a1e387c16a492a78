"""The report of saved evaluations, in one call: an HTML page, and optionally a model card and the figures as JSON."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import jaxface
from jaxface.data.source import Source
from jaxface.evaluation.pairs.pair_names import finder
from jaxface.evaluation.protocols.saved import read_evaluation
from jaxface.evaluation.report.model_card import write_model_card
from jaxface.evaluation.report.study import Study
from jaxface.evaluation.report.study_page import write_study
from jaxface.evaluation.report.sweep_file import read_table
from jaxface.formats.atomic import write_json
from jaxface.formats.errors import DamagedData
from jaxface.formats.images import encode_jpeg
from jaxface.pipeline.leaks.photos import open_photos, photo_reader

_log = logging.getLogger(__name__)
SHOWN_SIZE, QUALITY = 112, 80  # of pictures on the page, which are at most 90 pixels wide there


def report_files(
  evaluations: Sequence[str | Path], out: str | Path, *, sweeps: Sequence[str | Path] = (), slices: Sequence[str | Path] = (),
  images: str | Path | Source | None = None, title: str = "", card: str | Path | None = None, figures: str | Path | None = None,
  command: str = "", say: Callable[[str], object] = _log.info,
) -> Study:
  """Makes the report of any number of evaluations; models on one list are compared by paired tests.

  Args:
    evaluations: files of `jaxface evaluate --save`.
    out: HTML file to write.
    sweeps: JSON files of `jaxface sweep`.
    slices: JSON files of `jaxface slices`.
    images: folder of images or packed records, for pictures of the hardest pairs; None lists their names.
    title: heading; "" for one made of the lists and models.
    card: Markdown file for a model card; None for none.
    figures: JSON file for all figures, see figures.schema.json; None for none.
    command: command line that the page shows.
    say: called with each line for the user.
  Returns:
    The `Study` that was written.
  Raises:
    FileNotFoundError: a file that is not there.
    DamagedData: a file that is damaged, or of another kind.
    ValueError: nothing to report.
  """
  if not evaluations and not sweeps and not slices:
    raise ValueError("nothing to report: give files of jaxface evaluate --save, of jaxface sweep (sweeps), or of jaxface slices (slices)")
  found = [(Path(path).stem, read_evaluation(path)) for path in evaluations]
  source = open_photos(images) if isinstance(images, str | Path) else images
  study = Study(
    title, found, [read_table(path, "sweep") for path in sweeps], [read_table(path, "slices") for path in slices],
    None if source is None else _small_pictures(source, say), command, {"jaxface": jaxface.__version__},
  )
  write_study(out, study)
  if card is not None:
    write_model_card(card, study)
  if figures is not None:
    write_json(figures, study.figures)
  return study


def _small_pictures(source: Source, say: Callable[[str], object]) -> Callable[[str], bytes | None]:
  """A small JPEG by name; None for images that are not there or cannot be read, which are told once."""
  names, read = source.names(), photo_reader(source)
  record_of, find = {name: record for record, name in enumerate(names)}, finder(names)
  told = False

  def encoded(name: str) -> bytes | None:
    nonlocal told
    try:
      image = Image.fromarray(read(record_of[find(name)]))
    except (KeyError, DamagedData) as error:
      if not told:
        say(f"no picture of {name!r}: " + (str(error) if isinstance(error, DamagedData) else f"the images are named like {names[0]!r}"))
        told = True
      return None
    image.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
    return encode_jpeg(np.asarray(image), QUALITY)

  return encoded


__all__ = ["report_files"]
