"""Stage names: candidates by popularity, without those who are in a test set by name or by face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, table
from jaxface.formats.atomic import write_text
from jaxface.formats.embeddings import read_embeddings
from jaxface.formats.walk import walk
from jaxface.pipeline.cleaning.spelling import name_words, same_person_names
from jaxface.pipeline.leaks.faces import same_faces


@dataclass(frozen=True)
class Candidates:
  """Result of `clean_names`.

  Attributes:
    kept: names that stay, the most popular first.
    removed: (name, why) of the others, in order of the list.
    repeated: number of lines that repeat the name of an earlier one.
  """

  kept: tuple[str, ...]
  removed: tuple[tuple[str, str], ...]
  repeated: int

  def summary(self) -> str:
    """One line for a terminal."""
    return f"{len(self.kept) + len(self.removed):,} candidates, {len(self.removed):,} removed, {len(self.kept):,} stay; {self.repeated:,} lines repeat earlier ones"


def clean_names(
  candidates: str | Path, test: str | Path | None = None, *, count: int | None = None, embeddings: tuple[str | Path, str | Path] | None = None,
  similarity: float | None = None, out: str | Path | None = None, page: str | Path | None = None,
) -> Candidates:
  """Removes candidates who are in a test set, and keeps the most popular of the others.

  Args:
    candidates: a name per line, in order of popularity, or with a tab and a number, higher for the more popular.
    test: names of the test set: such a file, or a folder per person.
    count: how many candidates stay; None for all.
    embeddings: files of `jaxface embed` of the candidates' images, named PERSON/IMAGE, and of the test set's: candidates who look alike are
      removed too.
    similarity: cosine from which two images are suspected to show one person; needed with `embeddings`.
    out: file to write, a name per line.
    page: HTML page to write.
  Raises:
    FileNotFoundError: no such file or folder.
    ValueError: an empty list; a popularity that is not a number; embeddings without similarity.
  """
  if (embeddings is None) != (similarity is None):
    raise ValueError("to compare faces give embeddings of both sets and similarity, a cosine, such as the model's threshold")
  if count is not None and count < 1:
    raise ValueError(f"count is {count}: at least 1 candidate must stay")
  names, repeated = _read(Path(candidates))
  why: dict[str, str] = {}
  if test is not None:
    others = list(walk(test).folders) if Path(test).is_dir() else _read(Path(test))[0]
    if not others:
      raise ValueError(f"{test}: no folder of a person there")
    why |= {name: f"test set has {other!r}: {reason}" for name, other, reason in same_person_names(names, others)}
  if embeddings is not None and similarity is not None:
    known = {name_words(name): name for name in names}
    for leak in same_faces(read_embeddings(embeddings[0]), read_embeddings(embeddings[1]), similarity):
      name = known.get(name_words(leak.train), "")
      if name:
        why.setdefault(name, f"looks like {leak.test!r} of the test set: cosine {leak.cosine:.2f}")
  left = [name for name in names if name not in why]
  removed = [(name, why[name]) for name in names if name in why]
  removed += [(name, f"place {place} by popularity; {count:,} stay") for place, name in enumerate(left, start=1) if count is not None and place > count]
  made = Candidates(tuple(left[:count]), tuple(removed), repeated)
  if out is not None:
    write_text(out, "".join(f"{name}\n" for name in made.kept))
  if page is not None:
    rows = [(name, [escape(reason)]) for name, reason in made.removed]
    write_text(page, document("Candidate names", [
      f'<header>\n<h1>Candidate names</h1>\n<p class="lead">{escape(made.summary())}.</p>\n</header>',
      f'<section>\n<div class="card scroll">{table("", ["removed", "why"], rows, numbers=False)}</div>\n</section>' if rows else "",
    ]))
  return made


def _read(file: Path) -> tuple[list[str], int]:
  """Names by falling popularity, without repetitions, and the number of those."""
  found: dict[tuple[str, ...], tuple[float, int, str]] = {}
  repeated = 0
  try:
    lines = file.read_text(encoding="utf-8-sig").splitlines()
  except UnicodeDecodeError as error:
    raise ValueError(f"{file}: not UTF-8 text: {error}") from error
  for number, line in enumerate(lines, start=1):
    name, _, text = line.partition("\t")
    name = name.strip()
    if not name or name.startswith("#"):
      continue
    try:
      popularity = float(text) if text.strip() else 0.0
    except ValueError:
      raise ValueError(f"{file}, line {number}: popularity {text!r} is not a number; a line is a name, or a name, a tab and a number") from None
    words = name_words(name) or (name,)
    repeated += words in found
    found.setdefault(words, (-popularity, number, name))
  if not found:
    raise ValueError(f"{file}: no names in it; give one per line")
  return [name for _, _, name in sorted(found.values())], repeated


__all__ = ["Candidates", "clean_names"]
