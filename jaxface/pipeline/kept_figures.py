"""Figures of a system in a JSON file that is written after each of them, so that an interrupted command goes on where it was."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxface.data.fingerprint import digest
from jaxface.formats.checked_json import read_checked_json, write_checked_json
from jaxface.formats.embeddings import Embeddings

KIND, VERSION = "figures of a system", 1


class KeptFigures:
  """Figures by name, in a file if there is one; those of the same making are read from it and not computed again.

  Attributes:
    figures: by name, all that the file has.
  """

  def __init__(self, file: str | Path | None, made_from: Mapping[str, Any], *, say: Callable[[str], object] = print):
    """Reads the file if it exists.

    Args:
      file: JSON file; None keeps nothing.
      made_from: plain JSON values that decide the figures. A file of others is begun anew, with a line for the user.
      say: called with each line for the user.
    Raises:
      DamagedData: the file is damaged.
    """
    self._file, self._made_from = None if file is None else Path(file), dict(made_from)
    self.figures: dict[str, Mapping[str, Any]] = {}
    if self._file is not None and self._file.is_file():
      found = read_checked_json(self._file)
      if (found.get("kind"), found.get("format_version"), found.get("made_from")) == (KIND, VERSION, self._made_from):
        self.figures = found["figures"]
      else:
        say(f"{self._file}: has figures of other embeddings or settings, which are computed anew")

  def get(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """A figure: from the file, or computed and then written to it.

    Args:
      name: of the figure.
      compute: returns plain JSON values.
    """
    if name not in self.figures:
      self.figures[name] = dict(compute())
      if self._file is not None:
        content = {"kind": KIND, "format_version": VERSION, "made_from": self._made_from, "figures": self.figures}
        write_checked_json(self._file, content)
    return self.figures[name]


def embeddings_digest(embeddings: Embeddings) -> str:
  """A digest of rows, names, labels and the setting of the mirror image."""
  label = () if embeddings.label_n is None else (embeddings.label_n,)
  return digest([embeddings.embedding_nd, "\n".join(embeddings.names), str(embeddings.meta.get("mirror")), *label])


def figures_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
  """Figures as lines of text: accuracy in percent, its standard error where there is one, AUC."""
  lines = []
  for name, one in figures.items():
    error = f" ± {100 * one['accuracy_se']:.2f}" if "accuracy_se" in one else ""
    lines.append(f"{name:36} {100 * one['accuracy']:6.2f} %{error}  AUC {one['auc']:.4f}")
  return "\n".join(lines)


__all__ = ["KIND", "KeptFigures", "embeddings_digest", "figures_table"]
