"""Writes the tables of docs/sweeps.md from the JSON files of `jaxface sweep`.

Command: python docs/make_sweeps_page.py [--part NAME] FOLDER [FOLDER ...]

FOLDER is the --out of a sweep; the page has the commands. Tables of several folders stand below each other. --part names the part of the page:
"mobilefacenet" (default), "degraded" or "facenet".
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generated import replace_part

PAGE = Path(__file__).parent / "sweeps.md"
TARGET = "1e-2"
PARTS = {"mobilefacenet": "docs/make_sweeps_page.py"} | {name: f"docs/make_sweeps_page.py --part {name}" for name in ("degraded", "facenet")}


def rates(row: Mapping[str, Any], name: str) -> str:
  """A figure and its interval in percent."""
  value, ends = (row[key][TARGET] if name == "tar_at_far" else row[key] for key in (name, f"{name}_95"))
  return f"{100 * value:.2f} ({100 * ends[0]:.2f} to {100 * ends[1]:.2f})"


def difference(row: Mapping[str, Any]) -> str:
  """The difference of the accuracy to the reference, with its interval."""
  if "difference" not in row:
    return "–"
  value, (low, high) = row["difference"]["accuracy"], row["difference"]["accuracy_95"]
  return f"{100 * value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def table(swept: Mapping[str, Any]) -> str:
  """One sweep in Markdown."""
  counts = swept["counts"]
  lines = [
    f"{counts['pairs']:,} pairs of {counts['images']:,} images, {counts['folds']} folds:", "",
    f"| {swept['what']} | accuracy | difference | EER | TAR at FAR {TARGET} |", "|---|---|---|---|---|",
  ]
  # The reference may be one of the levels, as in a sweep of embedding sizes: it has no difference.
  reference = swept["reference"]
  levels = [reference if row["value"] == reference["value"] else row for row in swept["rows"]]
  for row in levels if reference in levels else [*levels, reference]:
    level = "unchanged" if row["value"] is None else f"{row['value']:,.6g}"
    lines.append(f"| {level} | {rates(row, 'accuracy')} | {difference(row)} | {rates(row, 'eer')} | {rates(row, 'tar_at_far')} |")
  return "\n".join(lines)


def main() -> None:
  """Read the files and write the page."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
  parser.add_argument("--part", choices=PARTS, default="mobilefacenet", help="part of the page to write (default: %(default)s)")
  options = parser.parse_args()
  files = [file for folder in options.folders for file in sorted(folder.glob("sweep_*.json"))]
  replace_part(PAGE, PARTS[options.part], "\n\n".join(table(json.loads(file.read_text(encoding="utf-8"))) for file in files))


if __name__ == "__main__":
  main()
