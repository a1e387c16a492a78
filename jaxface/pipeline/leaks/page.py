"""A page with the pictures of leaks."""

from pathlib import Path

from jaxface.data.source import Source, pictures_of
from jaxface.evaluation.report.drawing import escape
from jaxface.evaluation.report.page import document, pair_card, table
from jaxface.formats.atomic import write_text
from jaxface.pipeline.leaks.find import Leaks
from jaxface.pipeline.leaks.images import IDENTICAL, MIRRORED, NEAR
from jaxface.pipeline.leaks.photos import photo_reader

SHOWN = 200


def write_leak_page(path: str | Path, leaks: Leaks, train: Source, test: Source) -> None:
  """One self-contained HTML file: the pairs of images side by side, the closest first, and the identities.

  Args:
    path: file to write, atomically.
    leaks: from `find_leaks`.
    train: source of the training images.
    test: source of the test images.
  """
  encoded = pictures_of(train, photo_reader(train)), pictures_of(test, photo_reader(test))
  parts = [
    f'<header>\n<h1>Leaks of the test set</h1>\n<p class="lead">{escape(leaks.summary())}.</p>\n</header>',
    "".join(f'<p class="soft">{escape(note)}</p>' for note in leaks.notes),
  ]
  for kind, heading in ((IDENTICAL, "The same pixels"), (NEAR, "Near-identical"), (MIRRORED, "Mirrored")):
    found = [leak for leak in leaks.images if leak.kind == kind]
    cards = [
      pair_card([(leak.train, encoded[0](leak.train)), (leak.test, encoded[1](leak.test))], f"<b>{leak.bits}</b> of 256 bits differ")
      for leak in found[:SHOWN]
    ]
    if cards:
      shown = f", the closest {SHOWN}" if len(found) > SHOWN else ""
      parts.append(
        f'<section>\n<h2>{heading}</h2>\n<p class="soft">{len(found):,} pairs{shown}; the training image is on the left.</p>\n'
        f'<div class="pairs">\n' + "\n".join(cards) + "\n</div>\n</section>"
      )
  if leaks.faces:
    cards = [
      pair_card(
        [(leak.train_image, encoded[0](leak.train_image)), (leak.test_image, encoded[1](leak.test_image))],
        f"cosine <b>{leak.cosine:.3f}</b>, of the means {leak.centre:.3f}" + (", same name" if leak.same_name else ""),
      )
      for leak in leaks.faces[:SHOWN]
    ]
    shown = f", the most similar {SHOWN}" if len(leaks.faces) > SHOWN else ""
    parts.append(
      f'<section>\n<h2>Suspected: faces that look alike</h2>\n<p class="soft">{len(leaks.faces):,} pairs of identities{shown}, with their most'
      f' similar images; the training image is on the left.</p>\n<div class="pairs">\n' + "\n".join(cards) + "\n</div>\n</section>"
    )
  if leaks.identities:
    rows = [(leak.test, [escape(leak.train)]) for leak in leaks.identities]
    parts.append(f"<section>\n<h2>Identities of the same name</h2>\n{table('', ['test set', 'training set'], rows, numbers=False)}\n</section>")
  write_text(path, document("Leaks", parts))


__all__ = ["write_leak_page"]
