"""Counts of a packed set, and a histogram of images per identity."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import write_text
from jaxface.formats.errors import DamagedData
from jaxface.formats.histogram import as_svg, as_text, doubling_bins
from jaxface.formats.images import decode_image
from jaxface.formats.recordset import RecordSet

FACES_SHOWN = 32
_SAMPLE = 200


@dataclass(frozen=True)
class RecordStats:
  """Counts of a packed set; `print` shows the figures and the histogram.

  Attributes:
    figures: text by name, such as "records": "15,000".
    images_per_identity: number of images of each identity, by label.
  """

  figures: Mapping[str, str]
  images_per_identity: tuple[int, ...]

  def __str__(self) -> str:
    lines = [f"{name:>20}  {text}" for name, text in self.figures.items()]
    return "\n".join([*lines, "", as_text(doubling_bins(self.images_per_identity))])


def describe_records(
  path: str | Path, *, svg: str | Path | None = None, html: str | Path | None = None
) -> RecordStats:
  """Counts a packed set and draws its images per identity.

  Args:
    path: the packed set.
    svg: file for the histogram, as a self-contained picture.
    html: file for a self-contained page: figures, picture, some faces.
  Returns:
    `RecordStats`.
  Raises:
    FileNotFoundError: there is no packed set.
    DamagedData: its parts disagree, or an image that the page shows cannot be read.
  """
  records = RecordSet.open(path)
  figures = _figures(records)
  images = tuple(np.bincount(records.label_n, minlength=records.num_identities).tolist())
  title = Path(path).resolve().name
  picture = as_svg(doubling_bins(images), f"{title}: images per identity") if svg or html else ""
  if svg:
    write_text(svg, picture)
  if html:
    some = np.unique(np.linspace(0, records.num_records - 1, FACES_SHOWN).astype(int)).tolist()
    write_text(html, _page(title, figures, picture, [bytes(records.image(record)) for record in some]))
  return RecordStats(figures, images)


def _figures(records: RecordSet) -> dict[str, str]:
  """Counts of a set as text, by name."""
  manifest = records.manifest
  images_c = np.bincount(records.label_n, minlength=records.num_identities)
  size = sum(shard.bytes for shard in manifest.shards)
  height, width, channels = manifest.image_size
  across = sum(bool(group["across_identities"]) for group in manifest.duplicates)
  return {
    "records": f"{records.num_records:,}",
    "identities": f"{records.num_identities:,}",
    "images per identity": f"mean {images_c.mean():.2f}, median {np.median(images_c):g}, "
    f"from {images_c.min()} to {images_c.max()}",
    "balance": _balance(images_c),
    "quality": _quality(records),
    "one image only": f"{int((images_c == 1).sum()):,} identities",
    "mated pairs": f"{int((images_c * (images_c - 1) // 2).sum()):,}",
    "images": f"{height}×{width}×{channels} {manifest.colour_order}, {manifest.encoding}, template {manifest.template}",
    "shards": f"{len(manifest.shards)}, {size / 1e6:,.1f} MB, {size / records.num_records / 1e3:.1f} KB per record",
    "kept byte for byte": f"{manifest.kept:,}",
    "damaged, left out": f"{len(manifest.damaged):,}",
    "duplicates": f"{len(manifest.duplicates):,} groups, {across:,} of them across identities",
    "source": f"{manifest.source} ({manifest.layout})",
    "licence": manifest.licence,
    "origin": manifest.origin,
  }


def _balance(images_c: np.ndarray) -> str:
  """How evenly images are shared: the share of the tenth of the identities with most images, and the Gini coefficient."""
  rising_c = np.sort(images_c)
  top = rising_c[-max(len(rising_c) // 10, 1) :].sum() / max(rising_c.sum(), 1)
  place_c = 2 * np.arange(1, len(rising_c) + 1) - len(rising_c) - 1
  return f"the tenth of the identities with most images has {top:.0%} of them; Gini coefficient {(place_c * rising_c).sum() / (len(rising_c) * max(rising_c.sum(), 1)):.2f}"


def _quality(records: RecordSet) -> str:
  """Quartiles of brightness, contrast and sharpness of an even sample; sharpness is the variance of the Laplacian."""
  some = np.unique(np.linspace(0, records.num_records - 1, _SAMPLE).astype(int)).tolist()
  value_n3 = []
  for record in some:
    try:
      grey_hw = decode_image(records.image(record), where=f"record {record}").astype(np.float32).mean(2)
    except DamagedData:  # for `verify` to report
      continue
    inner = grey_hw[:-2, 1:-1] + grey_hw[2:, 1:-1] + grey_hw[1:-1, :-2] + grey_hw[1:-1, 2:] - 4 * grey_hw[1:-1, 1:-1]
    value_n3.append((grey_hw.mean(), grey_hw.std(), inner.var() if inner.size else 0.0))
  if not value_n3:
    return "no image of the sample can be read"
  quartile_33 = np.quantile(np.array(value_n3), [0.25, 0.5, 0.75], axis=0)
  names = ("brightness", "contrast", "sharpness")
  return "; ".join(f"{name} {low:.0f}, {middle:.0f}, {high:.0f}" for name, (low, middle, high) in zip(names, quartile_33.T)) + f" (quartiles of {len(value_n3)} images)"


def _page(title: str, figures: dict[str, str], picture: str, faces: list[bytes]) -> str:
  """A self-contained page: figures, histogram, some faces."""
  rows = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in figures.items())
  sheet = "\n".join(
    f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(face).decode()}">' for face in faces
  )
  return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 720px; margin: 2rem auto; padding: 0 1rem }}
th {{ text-align: left; font-weight: 500; color: #555; padding-right: 1.5rem; vertical-align: top }}
img {{ width: 80px; margin: 2px; border-radius: 3px }} svg {{ max-width: 100%; height: auto; margin: 1rem 0 }}
</style>
<h1>{escape(title)}</h1>
<table>
{rows}
</table>
{picture}<div>
{sheet}
</div>
</html>
"""


__all__ = ["RecordStats", "describe_records"]
