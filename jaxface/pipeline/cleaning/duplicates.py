"""Stage duplicates: equal files, near-identical images, also mirrored and across people; the best image of each group stays."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxface.data.image_hash import BITS
from jaxface.evaluation.measures.graph import components
from jaxface.formats.leave_out import LEAVE_OUT, Proposal
from jaxface.pipeline.cleaning.near_pairs import near_hashes_of_one_set, near_vectors
from jaxface.pipeline.cleaning.page import write_stage_page
from jaxface.pipeline.cleaning.prints import Fingerprints, fingerprints
from jaxface.pipeline.cleaning.state import Cleaning, Found, StageResult

# Bits of 256, and cosine of VLAD vectors: between those of changed copies and of different photos of aligned CelebA faces, see
# docs/check_cleaning.py.
DISTANCE, SIMILARITY = 40, 0.8
_log = logging.getLogger(__name__)


def duplicate_groups(found: Fingerprints, *, distance: int = DISTANCE, similarity: float = SIMILARITY) -> tuple[np.ndarray, dict[tuple[int, int], str]]:
  """Groups of images with equal files, near hashes or near VLAD vectors: connected components.

  Args:
    found: of M images.
    distance: largest number of differing bits of near hashes.
    similarity: smallest cosine of near VLAD vectors.
  Returns:
    [M] int64, number of the group of each image, and how each joined pair was found.
  """
  how: dict[tuple[int, int], str] = {}
  first: dict[bytes, int] = {}
  for row, digest in enumerate(found.digest_m):
    before = first.setdefault(digest.tobytes(), row)
    if before != row:
      how[before, row] = "the same file"
  for pair, bits in zip(*(each.tolist() for each in near_hashes_of_one_set(found.hash_mk, found.mirrored_mk, distance))):
    how.setdefault((pair[0], pair[1]), f"{bits} of {BITS} bits of the hashes differ")
  for pair, cosine in zip(*(each.tolist() for each in near_vectors(found.vlad_mx, found.mirrored_mx, similarity))):
    how.setdefault((pair[0], pair[1]), f"cosine of VLAD {cosine:.2f}")
  pair_p2 = np.array(list(how), np.int64).reshape(-1, 2)
  return components(pair_p2[:, 0], pair_p2[:, 1], len(found.rows)), how


def clean_duplicates(
  folder: str | Path, *, distance: int = DISTANCE, similarity: float = SIMILARITY, work: str | Path | None = None,
  list_file: str | Path | None = None, progress: bool = False, say: Callable[[str], object] = _log.info,
) -> StageResult:
  """Finds near-identical images and proposes to leave out all but one of each group.

  Within one person the image of most pixels stays, of equal ones the first. Where a group has images of several people, all are left out,
  since nothing here says which label is right; their probability is that of a rule, 1.

  Args:
    folder: a folder per identity, or any folder with `list_file`.
    distance: largest number of differing bits, of 256, between perceptual hashes.
    similarity: smallest cosine between VLAD vectors of dense local descriptors.
    work: folder of results; None for FOLDER.cleaning.
    list_file: path and identity per line.
    progress: draw progress bars.
    say: called with each line for the user.
  Returns:
    `StageResult`; also in WORK/duplicates.json, with a page in WORK/duplicates.html.
  Raises:
    ValueError: a distance or similarity that unrelated images reach; see `Cleaning.open`.
    DamagedData: no image can be read.
  """
  if not 0 <= distance <= BITS // 4:
    raise ValueError(f"distance is {distance}: from 0 to {BITS // 4} of {BITS} bits; unrelated images differ in about {BITS // 2}")
  if not 0.5 <= similarity <= 1:
    raise ValueError(f"similarity is {similarity}: a cosine from 0.5 to 1; different photos reach 0.5")
  cleaning = Cleaning.open(folder, work=work, list_file=list_file)

  def compute(rows: np.ndarray, identities: list[str]) -> Found:
    prints = fingerprints(cleaning, progress=progress, say=say)
    name_of = dict(zip(rows.tolist(), identities))
    kept = np.flatnonzero(np.isin(prints.rows, rows))
    some = Fingerprints(
      prints.rows[kept], prints.digest_m[kept], prints.hash_mk[kept], prints.mirrored_mk[kept], prints.vlad_mx[kept], prints.mirrored_mx[kept],
      prints.size_m[kept], prints.unreadable,
    )
    group_m, how = duplicate_groups(some, distance=distance, similarity=similarity)
    proposals: list[Proposal] = []
    stay: dict[str, str] = {}
    why: dict[int, str] = {}
    for (left, right), text in how.items():
      for one in (left, right):
        why.setdefault(one, text)
    members = defaultdict(list)
    for place, group in enumerate(group_m.tolist()):
      members[group].append(place)
    kinds: Counter[str] = Counter()
    for places in members.values():
      if len(places) == 1:
        continue
      kinds["groups"] += 1
      across = len({name_of[int(some.rows[place])] for place in places}) > 1
      kinds["groups across people"] += across
      best = min(places, key=lambda place: (-int(some.size_m[place]), place))
      for place in places:
        if place == best and not across:
          continue
        path, other = cleaning.paths[int(some.rows[place])], best if place != best else next(one for one in places if one != best)
        stay[path] = cleaning.paths[int(some.rows[other])]
        text = f"near-identical to {stay[path]}: {how.get((min(place, other), max(place, other)), why[place] + ', through another image')}"
        proposals.append(Proposal(path, LEAVE_OUT, "", "duplicates", 1.0, text + ("; of several people, none stays" if across else "")))
    for row, reason in prints.unreadable:
      if row in name_of:
        proposals.append(Proposal(cleaning.paths[row], LEAVE_OUT, "", "duplicates", 1.0, f"cannot be read: {reason}"))
        kinds["unreadable"] += 1
    kinds["equal files"] = sum(text == "the same file" for text in how.values())
    return Found(proposals, {name: kinds[name] for name in ("groups", "groups across people", "equal files", "unreadable")}, [], {"stay": stay})

  def page(path: Path, result: StageResult) -> None:
    where = {image.path: row for row, image in enumerate(cleaning.source.images)}
    write_stage_page(
      path, cleaning, result, title="Near-duplicates", beside=lambda one: [where[result.extra["stay"][one.path]]] if one.path in result.extra["stay"] else [],
      text="Images that are copies of others: recoloured, resized, compressed again, or mirrored. The second picture of each pair is the image it repeats.",
    )

  return cleaning.run("duplicates", {"distance": distance, "similarity": similarity}, compute, page=page, say=say)


__all__ = ["DISTANCE", "SIMILARITY", "clean_duplicates", "duplicate_groups"]
