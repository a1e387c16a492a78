"""Groups the faces of a folder of photos by person."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxface.detection import Detector
from jaxface.evaluation import cluster
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, picture
from jaxface.formats.atomic import write_json, write_text
from jaxface.formats.images import encode_jpeg
from jaxface.formats.walk import walk
from jaxface.inference.model import Model
from jaxface.pipeline.photos.decision import Decision, NoFace, embed_aligned, network_and_rule, template_of
from jaxface.pipeline.photos.faces import Face, find_faces

# Faces of a cluster on the page.
SHOWN = 60
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clusters:
  """Faces of photos by person.

  Attributes:
    groups: faces of each group, the largest first; their photos are paths below the folder.
    decision: the rule that joins two faces.
    linkage: see `jaxface.evaluation.cluster`.
    refused: photos without a face, each with the reason.
  """

  groups: tuple[tuple[Face, ...], ...]
  decision: Decision
  linkage: str
  refused: tuple[tuple[str, str], ...]

  def summary(self) -> str:
    """One line for a terminal."""
    faces, several = sum(map(len, self.groups)), sum(len(group) > 1 for group in self.groups)
    return (
      f"{faces:,} faces in {len(self.groups):,} groups, {several:,} of them with several faces; {len(self.refused):,} photos refused;"
      f" {self.linkage} linkage, {self.decision}"
    )

  def to_json(self) -> dict[str, Any]:
    """Plain JSON values: the groups with photo, face and box of each."""
    groups = [
      [{"photo": face.photo, "face": face.number, "box": [round(float(value), 2) for value in face.box_4], "quality": round(face.quality, 4)}
       for face in group]
      for group in self.groups
    ]
    return {
      "threshold": self.decision.threshold, "far": self.decision.far, "linkage": self.linkage, "groups": groups,
      "refused": [{"photo": photo, "reason": reason} for photo, reason in self.refused],
    }


def cluster_photos(
  photos: str | Path, *, model: Model | str | Path | None = None, detector: Detector | str | Path | None = None, which: str = "all",
  threshold: float | None = None, linkage: str = "average", out: str | Path | None = None, page: str | Path | None = None,
  progress: bool = False, say: Callable[[str], object] = _log.info,
) -> Clusters:
  """Groups the faces of a folder of photos by person.

  Args:
    photos: folder, searched to any depth.
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    detector: a detector, or the folder or name of one.
    which: "all" faces of each photo, or the "main", "largest" or "central" one, see `find_faces`.
    threshold: cosine; None for that of the model's folder (`jaxface threshold`).
    linkage: "single", "average" or "complete", see `jaxface.evaluation.cluster`.
    out: JSON file to write.
    page: HTML page to write, with the faces of each group.
    progress: draw a progress bar.
    say: called with each line for the user.
  Raises:
    NoFace: none of the photos has a face.
    FileNotFoundError: no such folder or model, or a model without a threshold.
    ValueError: no photos there; an unknown `which` or linkage.
  """
  net, decision = network_and_rule(model, threshold)
  found = walk(photos)
  for note in found.notes:
    say(note)
  if not found.paths:
    raise ValueError(f"{photos}: no photos below this folder")
  faces: list[Face] = []
  refused = []
  with tqdm(total=len(found.paths), unit="photo", desc="cluster", disable=not progress) as bar:
    results = find_faces(
      [Path(photos) / path for path in found.paths], template=template_of(net), which=which, detector=detector, done=bar.update
    )
    for path, one in zip(found.paths, results):
      faces += one.faces
      if not one.faces:
        refused.append((path, one.refused))
  if not faces:
    raise NoFace(f"{photos}: none of the {len(found.paths):,} photos has a face; {refused[0][0]}: {refused[0][1]}")
  number_n = cluster(embed_aligned(net, faces), decision.threshold, linkage=linkage)
  rows = [np.flatnonzero(number_n == number) for number in range(int(number_n.max()) + 1)]
  rows.sort(key=lambda row_m: (-len(row_m), int(row_m[0])))
  made = Clusters(tuple(tuple(_below(faces[row], photos) for row in row_m) for row_m in rows), decision, linkage, tuple(refused))
  if out is not None:
    write_json(out, made.to_json())
  if page is not None:
    _write_page(Path(page), made)
  return made


def _below(face: Face, photos: str | Path) -> Face:
  return replace(face, photo=Path(face.photo).relative_to(Path(photos)).as_posix())


def _write_page(path: Path, made: Clusters) -> None:
  parts = [f'<header>\n<h1>People</h1>\n<p class="lead">{escape(made.summary())}.</p>\n</header>']
  for number, group in enumerate(made.groups):
    hidden = f" {len(group) - SHOWN:,} more are not shown." if len(group) > SHOWN else ""
    cards = [
      f'<figure class="card">{picture(face.photo, encode_jpeg(face.image_hwc, quality=85))}<figcaption>'
      f'<span title="{escape(face.photo)}">{escape(face.photo)}</span></figcaption></figure>'
      for face in group[:SHOWN]
    ]
    parts.append(
      f'<section>\n<h2>Group {number + 1}</h2>\n<p class="soft">{len(group):,} face{"" if len(group) == 1 else "s"}.{hidden}</p>\n'
      '<div class="pairs">\n' + "\n".join(cards) + "\n</div>\n</section>"
    )
  write_text(path, document("People", parts))


__all__ = ["Clusters", "cluster_photos"]
