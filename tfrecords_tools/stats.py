"""stats OUT: counts of a packed set, and images per identity drawn."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import numpy as np

from jaxface.formats.atomic import write_text
from jaxface.formats.recordset import RecordSet
from tfrecords_tools.histogram import as_svg, as_text, doubling_bins, escape

SUMMARY = "print counts of a packed set and draw images per identity"


def count(records: RecordSet) -> dict[str, str]:
  """What there is to know of a set at a glance.

  Args:
    records: the set.
  Returns:
    Figures as text, by name.
  """
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


def page(title: str, figures: dict[str, str], picture: str, faces: list[bytes]) -> str:
  """A page that stands alone: figures, histogram, some faces.

  Args:
    title: of the page.
    figures: of `count`.
    picture: an SVG document.
    faces: JPEG files.
  Returns:
    HTML.
  """
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command's arguments.

  Args:
    parser: of the subcommand.
  """
  parser.add_argument("out", type=Path, metavar="OUT", help="packed set")
  parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the histogram as a picture")
  parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with figures, picture and some faces")


def run(arguments: argparse.Namespace) -> int:
  """Prints, and writes what was asked for.

  Args:
    arguments: as declared.
  Returns:
    The exit code.
  """
  records = RecordSet.open(arguments.out)
  figures = count(records)
  bins = doubling_bins(np.bincount(records.label_n, minlength=records.num_identities).tolist())
  for name, text in figures.items():
    print(f"{name:>20}  {text}")
  print(f"\n{as_text(bins)}")
  title = arguments.out.resolve().name
  picture = as_svg(bins, f"{title}: images per identity")
  if arguments.svg:
    write_text(arguments.svg, picture)
  if arguments.html:
    some = np.unique(np.linspace(0, records.num_records - 1, 32).astype(int)).tolist()
    write_text(arguments.html, page(title, figures, picture, [bytes(records.image(record)) for record in some]))
  return 0
