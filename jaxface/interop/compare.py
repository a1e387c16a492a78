"""Selects among candidate readings of a file the one that separates known people best.

An activation without slopes, the flattening order of a feature map, and the input convention cannot be inferred from names
or shapes. Each candidate embeds the same images of known people; cosines of mated pairs are compared with those of non-mated
pairs. The candidates are ranked by separation, (mean mated − mean non-mated) / pooled standard deviation, which still
distinguishes candidates whose areas under the ROC are nearly one. A jackknife over people of the difference tests whether
the best candidate is significantly better than the second.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.data.folder import FolderSource
from jaxface.evaluation.measures.roc import auc, roc
from jaxface.formats.errors import DamagedData
from jaxface.inference.embed import unusable
from jaxface.inference.sources import folder_size
from jaxface.interop.weights import recoloured
from jaxface.models.preprocess import PREPROCESS, Preprocess, changed
from jaxface.models.saved import SavedModel

MAX_PEOPLE, MAX_IMAGES_EACH, BATCH = 80, 4, 32
# Differences of fewer standard errors are not significant.
CLEAR = 2.0


@dataclass(frozen=True)
class Candidate:
  """One reading of a file, and how well it separates people.

  Attributes:
    name: name for messages.
    reading: the part of it that describes how the file was read; the rest is the input convention.
    saved: the network with its convention.
    separation: see above.
    auc: area under the ROC.
    without_n: separation without each person in turn.
  """

  name: str
  saved: SavedModel
  reading: str = ""
  separation: float = 0.0
  auc: float = 0.0
  without_n: np.ndarray | None = None


def conventions(saved: SavedModel, preprocess: str = "", colour: str = "") -> dict[str, Preprocess]:
  """Candidate input conventions of a network by name for messages, without duplicates.

  They are the registered ones, and the network's own where it is none of these.

  Args:
    saved: the network; all candidates use its size, template and fit.
    preprocess: name of the network's convention, if known.
    colour: order of the channels, if known.
  """
  own = saved.preprocess
  if preprocess:
    return {own.name: own}
  if saved.meta.get("normalises"):
    # The means belong to the graph's channels, in any order.
    orders = (own.colour,) if colour or own.channels == 1 else ("rgb", "bgr")
    return {f"{own.name} in {order}": changed(own, colour=order) for order in orders}
  found: dict[str, Preprocess] = {}
  for known in (*PREPROCESS.values(), own):
    if known.channels != own.channels:
      continue
    for order in (colour,) if colour else ("rgb", "bgr") if known.channels == 3 else ("grey",):
      convention = replace(recoloured(known, order), size=own.size, template=own.template, fit=own.fit)
      if not any(_alike(convention, other) for other in found.values()):
        name = known.name if order == known.colour else f"{known.name} in {order}"
        found[f"{name}, as the network has it" if name in found else name] = convention
  return found


def _alike(a: Preprocess, b: Preprocess) -> bool:
  return (a.colour, a.range) == (b.colour, b.range) and np.allclose(a.mean, b.mean) and np.allclose(a.std, b.std)


def compare(
  readings: Iterable[tuple[str, SavedModel]], images: Path | str, *, preprocess: str = "", colour: str = "",
  say: Callable[[str], object] = lambda line: None,
) -> list[Candidate]:
  """Candidates, best first.

  Args:
    readings: networks by name for messages, one for each reading of the file.
    images: folder with one subfolder of aligned images per person; some images of the first people are used.
    preprocess: see `conventions`.
    colour: see `conventions`.
    say: called with notes for the user about ignored parts of the folder. Unusable images are ignored.
  Raises:
    ValueError: fewer than two people with two images that can be used.
  """
  said: set[str] = set()

  def say_once(line: str) -> None:
    if line not in said:
      say(line)
    said.add(line)

  sources: dict[tuple[int, int] | None, tuple[np.ndarray, np.ndarray]] = {}
  candidates = []
  for reading, saved in readings:
    embed = jax.jit(lambda variables, x, module=saved.module: module.apply(variables, x, train=False))
    for name, convention in conventions(saved, preprocess, colour).items():
      size = folder_size(convention)
      if size not in sources:
        sources[size] = _read(Path(images), size, say_once)
      image_nhwc, person_n = sources[size]
      parts = [
        np.asarray(embed(saved.variables, convention.apply(jnp.asarray(image_nhwc[start : start + BATCH]))), np.float64)
        for start in range(0, len(image_nhwc), BATCH)
      ]
      label = ", ".join(part for part in (reading, name) if part)
      candidate = Candidate(label, replace(saved, preprocess=convention), reading)
      candidates.append(_judge(candidate, np.concatenate(parts), person_n))
  return sorted(candidates, key=lambda candidate: -candidate.separation)


def _read(folder: Path, size: tuple[int, int] | None, say: Callable[[str], object]) -> tuple[np.ndarray, np.ndarray]:
  """Images [N, H, W, 3] of the first people that have two, and the person [N] of each."""
  source = FolderSource(folder, size=size)
  for note in source.notes:
    say(note)
  damaged: list[DamagedData] = []
  images: list[np.ndarray] = []
  people: list[int] = []
  seen = 0
  for person in range(source.num_identities):
    own = _usable(source, np.flatnonzero(source.label_n == person), damaged)
    seen += len(own)
    if len(own) > 1:
      images += own
      people += [person] * len(own)
    if len(set(people)) == MAX_PEOPLE:
      break
  lost = unusable(damaged, seen + len(damaged)) if damaged else ""
  if len(set(people)) < 2:
    raise ValueError(
      f"--check {folder}: needs a folder with one folder per person, two people with two images at least{lost and '. '}{lost}"
    )
  if lost:
    say(lost)
  return np.stack(images), np.array(people)


def _usable(source: FolderSource, row_n: np.ndarray, damaged: list[DamagedData]) -> list[np.ndarray]:
  """The first images of one person that can be used, none of a person with one; adds the errors of others to `damaged`."""
  found: list[np.ndarray] = []
  while len(row_n) and len(found) + len(row_n) > 1 and len(found) < MAX_IMAGES_EACH:
    chosen_n, row_n = np.split(row_n, [MAX_IMAGES_EACH - len(found)])
    image_nhwc = np.zeros((len(chosen_n), *source.image_shape), np.uint8)
    errors = source.read(chosen_n, image_nhwc)
    bad = {error.row for error in errors}
    found += [image for row, image in enumerate(image_nhwc) if row not in bad]
    damaged += errors
  return found


def _judge(candidate: Candidate, embedding_nd: np.ndarray, person_n: np.ndarray) -> Candidate:
  """The candidate with its figures."""
  norm_n1 = np.linalg.norm(embedding_nd, axis=1, keepdims=True)
  if not np.isfinite(embedding_nd).all() or not norm_n1.all():
    return candidate
  unit_nd = embedding_nd / norm_n1
  row, column = np.triu_indices(len(person_n), 1)
  cosine_p = np.einsum("pd,pd->p", unit_nd[row], unit_nd[column])
  same_p = person_n[row] == person_n[column]
  people = np.unique(person_n)
  touches_np = (person_n[row] == people[:, None]) | (person_n[column] == people[:, None])
  return replace(
    candidate, separation=_separation(cosine_p, same_p), auc=auc(roc(cosine_p, same_p)),
    without_n=np.array([_separation(cosine_p[~touch_p], same_p[~touch_p]) for touch_p in touches_np]),
  )


def _separation(cosine_p: np.ndarray, same_p: np.ndarray) -> float:
  same, different = cosine_p[same_p], cosine_p[~same_p]
  if not len(same) or not len(different):
    return 0.0
  spread = np.sqrt((same.var() + different.var()) / 2)
  return float((same.mean() - different.mean()) / spread) if spread else 0.0


def report(candidates: list[Candidate], say: Callable[[str], object]) -> bool:
  """Report the figures of all candidates; returns whether the first is significantly better than the second."""
  width = max(len(candidate.name) for candidate in candidates)
  for candidate in candidates:
    say(f"{candidate.name:{width}}  separation {candidate.separation:6.3f}  AUC {candidate.auc:.4f}")
  if len(candidates) < 2:
    return True
  first, second = candidates[:2]
  if first.without_n is None or second.without_n is None:
    return first.without_n is not None
  difference_n = first.without_n - second.without_n
  count = len(difference_n)
  error = float(np.sqrt((count - 1) / count * ((difference_n - difference_n.mean()) ** 2).sum()))
  difference = first.separation - second.separation
  clear = difference > CLEAR * error
  verdict = "more than chance" if clear else "no more than chance: give more images, or say it with --preprocess, --colour and --option"
  say(f"{first.name} is taken: better than {second.name} by {difference:.3f} ± {error:.3f}, {verdict}")
  return clear


__all__ = ["Candidate", "compare", "conventions", "report"]
