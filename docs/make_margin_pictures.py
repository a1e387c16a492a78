"""Writes docs/margins.svg: the logit of the own class and its derivative over the angle, by margin, guard and gradient.

Command: python docs/make_margin_pictures.py
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.report.drawing import Axis, Series, chart
from jaxface.formats.atomic import write_text
from jaxface.losses.margins import ArcFace, CombinedMargin, CosFace, NormSoftmax, SphereFaceR

DEGREES = np.linspace(0.5, 179.5, 359)
WIDTH, HEIGHT, GAP, TITLE = 470, 290, 20, 34
STYLES = ("before", "model0", "model1", "model2")
# The drawing is self-contained, with its own style sheet for light and dark pages. Overlapping lines differ in their dashes.
CSS = """
svg { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
svg { --page: #ffffff; --ink: #1d2327; --soft: #5b6469; --grid: #edebe5; --card: #ffffff; --before: #8a9297;
  --model0: #0072b2; --model1: #c45100; --model2: #00785a; }
.page { fill: var(--page); } .title { fill: var(--ink); font-size: 15px; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  svg { --page: #1d2327; --ink: #edf0f1; --soft: #a8b2b7; --grid: #2a3136; --card: #1d2327; --before: #8d979c;
    --model0: #56b4e9; --model1: #f0a13a; --model2: #35c79c; }
}
"""
# Rows of the picture: title, and up to four margins; scales are 1.
ROWS: dict[str, Mapping[str, Any]] = {
  "margins": {
    "none": NormSoftmax(scale=1.0),
    "CosFace": CosFace(scale=1.0),
    "ArcFace": ArcFace(scale=1.0),
    "m1 = 1.7": CombinedMargin(m1=1.7, m2=0.0, m3=0.0, scale=1.0),
  },
  "guard, with ArcFace 0.8: where θ + m is beyond 180°": {
    "none": ArcFace(m=0.8, scale=1.0, guard="none"),
    "hard": ArcFace(m=0.8, scale=1.0, guard="hard"),
    "hold": ArcFace(m=0.8, scale=1.0, guard="hold"),
    "easy": ArcFace(m=0.8, scale=1.0, guard="easy"),
  },
  "gradient, with ArcFace 0.5: the same logit, another derivative; SphereFaceR is detached and held": {
    "no margin": NormSoftmax(scale=1.0),
    "exact": ArcFace(scale=1.0, gradient="exact"),
    "detached": ArcFace(scale=1.0, gradient="detached"),
    "SphereFaceR": SphereFaceR(scale=1.0),
  },
}


def logit_and_slope(margin: Any) -> tuple[np.ndarray, np.ndarray]:
  """Logit over `DEGREES`, and its derivative with respect to cos θ as training computes it."""

  def logit(cosine: jax.Array) -> jax.Array:
    one = jnp.ones(1)
    prep = margin.prepare(cosine[None], one, one, state=margin.init_state(), step=0, key=None, reduce=lambda total: total)
    return margin.target(cosine[None], prep.ctx)[0]

  values, slopes = jax.jit(jax.vmap(jax.value_and_grad(logit)))(jnp.cos(np.deg2rad(DEGREES)))
  return np.asarray(values), np.asarray(slopes)


def panels(margins: Mapping[str, Any]) -> tuple[str, str]:
  """The two charts of a row."""
  curves = [logit_and_slope(margin) for margin in margins.values()]
  angle = Axis("angle θ to the own centre, degrees", 0.0, 180.0)
  charts = []
  for which, (label, low, high) in enumerate(
    [("logit", -2.0, 1.0), ("d logit / d cos θ", -1.0, 3.0)]
  ):
    series = [
      # Outside of the frame a line would be drawn along its edge. The left chart has the legend of both.
      Series("" if which else name, style, DEGREES, np.where((curve[which] >= low) & (curve[which] <= high), curve[which], math.nan), dashes=at)
      for at, (name, style, curve) in enumerate(zip(margins, STYLES, curves))
    ]
    charts.append(chart(label, series, angle, Axis(label, low, high), size=(WIDTH / 72, HEIGHT / 72)))
  return charts[0], charts[1]


def picture() -> str:
  """All rows in one SVG document."""
  width, row_height = 2 * WIDTH + 3 * GAP, TITLE + HEIGHT + GAP
  parts = []
  for row, (title, margins) in enumerate(ROWS.items()):
    top = row * row_height + GAP
    parts.append(f'<text class="title" x="{GAP}" y="{top + 14}">{title}</text>')
    for column, drawing in enumerate(panels(margins)):
      at = f'x="{GAP + column * (WIDTH + GAP)}" y="{top + TITLE}" width="{WIDTH}" height="{HEIGHT}"'
      parts.append(drawing.replace("<svg ", f"<svg {at} ", 1))
  height = len(ROWS) * row_height + GAP
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    f'<style>{CSS}</style><rect class="page" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
  )


def main() -> None:
  """Writes the picture next to this file."""
  write_text(Path(__file__).with_name("margins.svg"), picture())


if __name__ == "__main__":
  main()
