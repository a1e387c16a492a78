"""The table of papers: each figure of a paper, ours, the data and the size of both, from `papers.json` and result files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxface.formats.errors import DamagedData
from jaxface.pipeline.papers.result_file import Measured
from jaxface.training.config import experiment_folder

VERSION = 1
MISSING = "not reproduced"
NOTE = "a figure marked * was not compared with the paper's text, only with what others print of it"


@dataclass(frozen=True)
class Figure:
  """One figure of a paper.

  Attributes:
    what: data, score and setting.
    value: the paper's, in percent; None if the paper has none.
    error: standard error in percent; None if not given.
    where: its place in the paper.
    checked: whether it was compared with a text of the paper.
    ours: "RESULT/FIGURE", the name of a result file and of a figure in it; "" for none.
    missing: why there is none of ours; "" for no special reason.
  """

  what: str
  where: str
  value: float | None = None
  error: float | None = None
  checked: bool = True
  ours: str = ""
  missing: str = ""


@dataclass(frozen=True)
class Paper:
  """One paper.

  Attributes:
    name: name for commands, such as "deepface".
    paper: its short title.
    source: authors, title, year.
    data: what it trained on.
    network: its network.
    figures: its figures.
    results: names of result files whose figures are all shown, also those to which no figure of the paper belongs.
  """

  name: str
  paper: str
  source: str
  data: str
  network: str
  figures: tuple[Figure, ...]
  results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
  """A figure of a paper beside ours.

  Attributes:
    paper: the paper.
    figure: its figure.
    measured: the result file of ours; None without one.
    found: our figure, see `MEASURES`; empty without one.
  """

  paper: Paper
  figure: Figure
  measured: Measured | None
  found: Mapping[str, Any]

  @property
  def theirs(self) -> str:
    """The paper's figure in percent, with * where it was not compared with the paper."""
    if self.figure.value is None:
      return "–"
    error = f" ± {self.figure.error:.2f}" if self.figure.error is not None else ""
    return f"{self.figure.value:.2f}{error}{'' if self.figure.checked else ' *'}"

  @property
  def ours(self) -> str:
    """Our figure in percent, or that it is not reproduced."""
    if not self.found:
      return f"{MISSING}: {self.figure.missing}" if self.figure.missing else MISSING
    error = f" ± {100 * self.found['accuracy_se']:.2f}" if "accuracy_se" in self.found else ""
    auc = f" (AUC {self.found['auc']:.4f})" if "auc" in self.found else ""
    return f"{100 * self.found['accuracy']:.2f}{error}{auc}"

  @property
  def size(self) -> str:
    """Our data and network, such as "6,365 images of 366 identities; deepface, 2.08 M parameters, 96×96×3"."""
    return about(self.measured) if self.measured else ""


def about(measured: Measured) -> str:
  """Data and network of a result."""
  data, network = measured.data, measured.network
  parts = []
  if "images" in data:
    parts.append(f"{data['images']:,} images" + (f" of {data['identities']:,} identities" if "identities" in data else ""))
  if "name" in network:
    shape = "×".join(map(str, network.get("input", ())))
    parts.append(f"{network['name']}, {network['parameters'] / 1e6:.2f} M parameters" + (f", {shape}" if shape else ""))
  return "; ".join(parts)


def results_folder() -> Path:
  """Folder of the result files that come with jaxface."""
  return experiment_folder() / "results"


def read_papers(path: str | Path | None = None) -> tuple[Paper, ...]:
  """The papers' figures.

  Args:
    path: file of them; None for the one that comes with jaxface.
  Raises:
    DamagedData: not such a file.
  """
  path = experiment_folder() / "papers.json" if path is None else Path(path)
  try:
    plain = json.loads(path.read_text(encoding="utf-8"))
    if plain["format_version"] != VERSION:
      raise ValueError(f"format version {plain['format_version']}; this release reads version {VERSION}")
    return tuple(
      Paper(**{**one, "figures": tuple(Figure(**figure) for figure in one["figures"]), "results": tuple(one.get("results", ()))})
      for one in plain["papers"]
    )
  except (ValueError, TypeError, KeyError) as error:
    raise DamagedData(f"not a file of papers: {type(error).__name__}: {error!s:.200}", file=path) from error


def read_results(folder: str | Path | None = None) -> dict[str, Measured]:
  """The result files of a folder by name.

  Args:
    folder: the folder; None for the one that comes with jaxface.
  Raises:
    FileNotFoundError: no such folder.
    DamagedData: a file that is damaged or of another kind, or two of one name.
  """
  if folder is not None and not Path(folder).is_dir():
    raise FileNotFoundError(f"{folder}: no such folder of result files; `jaxface papers --keep WORKDIR --results {folder}` makes it")
  found: dict[str, Measured] = {}
  for path in sorted(Path(folder or results_folder()).glob("*.json")):
    one = Measured.read(path)
    if one.name in found:
      raise DamagedData(f"a second file of the name {one.name!r}", file=path)
    found[one.name] = one
  return found


def paper_rows(papers: Sequence[Paper], results: Mapping[str, Measured]) -> Iterator[Row]:
  """Each figure of the papers beside ours.

  Args:
    papers: from `read_papers`.
    results: from `read_results`.
  """
  for paper in papers:
    for figure in paper.figures:
      name, _, key = figure.ours.partition("/")
      measured = results.get(name)
      found = measured.figures.get(key) if measured else None
      # A system with one network has no figures of an ensemble.
      yield Row(paper, figure, measured, found) if found else Row(paper, figure, None, {})
    told = {figure.ours for figure in paper.figures}
    for name in paper.results:
      for key, found in results[name].figures.items() if name in results else ():
        if f"{name}/{key}" not in told:
          yield Row(paper, Figure(f"LFW, {key}", "not in the paper", ours=f"{name}/{key}"), results[name], found)


def as_text(table: Sequence[Row]) -> str:
  """The table for a terminal: a block for each paper."""
  lines: list[str] = []
  for paper in dict.fromkeys(row.paper for row in table):
    here = [row for row in table if row.paper == paper]
    width = max(len(row.figure.what) for row in here)
    lines += [paper.paper, f"  paper: {paper.data}; {paper.network}"]
    for one in dict.fromkeys(row.measured.name for row in here if row.measured):
      measured = next(row.measured for row in here if row.measured and row.measured.name == one)
      lines += [f"  ours:  {about(measured)}", f"         {measured.command}"]
    lines += [f"  {'accuracy in %'.ljust(width)}  {'paper':14}  ours"]
    lines += [f"  {row.figure.what.ljust(width)}  {row.theirs:14}  {row.ours}" for row in here] + [""]
  return "\n".join([*lines, NOTE])


def as_markdown(table: Sequence[Row]) -> str:
  """The table for the docs."""
  titles = ("figure", "paper, %", "ours, %", "our data and network", "command")
  parts = []
  for paper in dict.fromkeys(row.paper for row in table):
    here = [row for row in table if row.paper == paper]
    cells = [
      (row.figure.what, row.theirs, row.ours, row.size or "–", f"`{row.measured.command}`" if row.measured else "–") for row in here
    ]
    lines = [f"| {' | '.join(one)} |" for one in (titles, ("---",) * len(titles), *cells)]
    parts += [f"**{paper.paper}.** {paper.data}; {paper.network}. Source: {paper.source}.", "\n".join(lines)]
  return "\n\n".join([*parts, f"*: {NOTE.removeprefix('a figure marked * ')}."])


__all__ = ["Figure", "Paper", "Row", "about", "as_markdown", "as_text", "paper_rows", "read_papers", "read_results", "results_folder"]
