"""Figures per group: of a table of attributes, or of statistics of the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxface.data.image_statistics import STATISTICS, measure_images
from jaxface.evaluation.report.study import Study
from jaxface.evaluation.report.study_page import write_study
from jaxface.evaluation.slices.attributes import Attributes
from jaxface.evaluation.slices.slices import CROSS, Slices, evaluate_slices
from jaxface.formats.atomic import write_json
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs
from jaxface.pipeline.leaks.find import open_photos


def slices(
  embeddings: Embeddings | str | Path, pairs: Pairs | str | Path, by: Sequence[str], *, table: Attributes | str | Path | None = None,
  images: str | Path | None = None, edges: Mapping[str, Sequence[float]] | None = None, quantiles: int = 4, key: str = "",
  protocol: str = "pairs", skip_missing: bool = False, out: str | Path | None = None, progress: bool = False,
) -> tuple[Slices, ...]:
  """Figures of embeddings on a pair list, per group of a table, or of brightness, contrast or sharpness of the images.

  Args:
    embeddings: see `jaxface.evaluation.evaluate_slices`, also for `pairs`, `by`, `table`, `edges`, `quantiles`, `key`, `protocol` and
      `skip_missing`.
    images: instead of a table, the folder of the images or packed records, of which statistics are measured; see
      `jaxface.data.measure_images`.
    out: folder for `slices_COLUMN.json` of each column, and the page `slices.html` with charts; None writes no files.
    progress: draw a progress bar.
  Returns:
    `Slices` of each column.
  Raises:
    ValueError: neither or both of `table` and `images`; see `evaluate_slices`.
    DamagedData: a file that cannot be read.
  """
  if (table is None) == (images is None):
    raise ValueError(f"give either a table of attributes or the images, of which {', '.join(STATISTICS)} are measured")
  if images is not None:
    if strange := sorted({part for name in by for part in name.split(CROSS)} - set(STATISTICS)):
      raise ValueError(f"{strange[0]!r} cannot be measured on images, only {', '.join(STATISTICS)}; other columns need a table")
    source = open_photos(images)
    table = Attributes(source.names(), measure_images(source, progress=progress), str(images))
  assert table is not None
  found = evaluate_slices(
    embeddings, pairs, table, by, edges=edges, quantiles=quantiles, key=key, protocol=protocol, skip_missing=skip_missing,
  )
  if out is not None:
    for one in found:
      write_json(Path(out) / f"slices_{one.column}.json", one.to_json())
    write_study(Path(out) / "slices.html", Study("", (), slices=[one.to_json() for one in found]))
  return found


__all__ = ["slices"]
