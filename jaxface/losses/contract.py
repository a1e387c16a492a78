"""Contract of user-defined margins and terms (docs/own_parts.md). The check names missing members, with the line to add.

It uses abstract evaluation, without devices: a run on several hosts must not use devices before the hosts are connected.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses.joint import Geometry, Margin, Prep
from jaxface.losses.metrics import Members
from jaxface.losses.own_part import WrongPart, called, check_members, failed
from jaxface.losses.term import SCOPES, Term, scope

# Realistic sizes, so that parts may use, for example, the ten nearest classes or split the embedding.
ROWS, SIZE, CLASSES = 48, 512, 100

# member: the line to add to a class without it.
TERM_MEMBERS = {
  "weight": "weight: float = 1.0",
  "init": "def init(self, key, embedding_size, num_classes): return {}, {}",
  "__call__": "def __call__(self, params, inputs, *, state, step, key): return loss_b, state, {}",
}
MARGIN_MEMBERS = {
  "geometry": "geometry = losses.Geometry(unit_x=True, unit_w=True)",
  "init_state": "def init_state(self): return {}",
  "prepare": (
    "def prepare(self, target_b, norm_b, weight_b, *, state, step, key, reduce):"
    " return losses.Prep(ctx=(), state=state, penalty_b=0 * target_b)"
  ),
  "target": "def target(self, target_b, ctx): return self.scale * (target_b - self.m)",
  "others": "def others(self, score_bk, ctx): return self.scale * score_bk",
}
CENTERS = 'def init(self, key, embedding_size, num_classes): return {"center_cd": ...}, {}  # [num_classes, embedding_size]'


def check_margin(margin: Any, where: str = "margin") -> None:
  """Check a margin by abstract evaluation; no values are computed.

  Args:
    margin: see `jaxface.losses.Margin`.
    where: name of its field, for messages.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  check_members(margin, where, Margin, MARGIN_MEMBERS)
  if not isinstance(margin.geometry, Geometry):
    raise WrongPart(
      f"{called(margin, where)}: geometry is {margin.geometry!r}; it must be a losses.Geometry, such as"
      f" {MARGIN_MEMBERS['geometry']}"
    )

  def run(score_bc: Any, norm_b: Any) -> Any:
    target_b, key = score_bc[:, 0], jax.random.key(0)
    prep = margin.prepare(
      target_b, norm_b, jnp.ones(ROWS), state=margin.init_state(), step=jnp.zeros((), jnp.int32), key=key, reduce=lambda x: x
    )
    if not isinstance(prep, Prep):
      raise WrongPart(f"{called(margin, where)}: prepare returns {type(prep).__name__}: {MARGIN_MEMBERS['prepare']}")
    return prep, margin.target(target_b, prep.ctx), margin.others(score_bc, prep.ctx)

  prep, target_b, other_bc = _shapes(run, margin, where, (ROWS, CLASSES), (ROWS,))
  _shape(margin, where, "prepare's penalty_b", prep.penalty_b, (ROWS,))
  _shape(margin, where, "target", target_b, (ROWS,))
  _shape(margin, where, "others", other_bc, (ROWS, CLASSES))
  _same_tree(margin, where, "prepare", jax.eval_shape(margin.init_state), prep.state)


def check_term(term: Any, where: str = "term") -> None:
  """Check a term by abstract evaluation; no values are computed.

  Args:
    term: see `jaxface.losses.Term`.
    where: name of its field, for messages.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  check_members(term, where, Term, TERM_MEMBERS)
  if scope(term) not in SCOPES:
    raise WrongPart(f"{called(term, where)}: scope is {scope(term)!r}; it must be one of {', '.join(SCOPES)}")

  def run(embedding_bd: Any, weight_b: Any) -> Any:
    key = jax.random.key(0)
    started = term.init(key, SIZE, CLASSES)
    if not (isinstance(started, tuple) and len(started) == 2):
      raise WrongPart(f"{called(term, where)}: init must return (parameters, state): {TERM_MEMBERS['init']}")
    inputs = {"embedding_bd": embedding_bd, "label_b": jnp.zeros(ROWS, jnp.int32), "weight_b": weight_b}
    given = term(started[0], inputs, state=started[1], step=jnp.zeros((), jnp.int32), key=key)
    if not (isinstance(given, tuple) and len(given) == 3):
      raise WrongPart(f"{called(term, where)}: a call must return (loss_b, state, metrics): {TERM_MEMBERS['__call__']}")
    return started[1], given

  before, (loss_b, state, metrics) = _shapes(run, term, where, (ROWS, SIZE), (ROWS,))
  _shape(term, where, "the loss", loss_b, (ROWS,))
  _same_tree(term, where, "a call", before, state)
  if not isinstance(metrics, Mapping):
    raise WrongPart(f"{called(term, where)}: metrics are {type(metrics).__name__}; they must be a dict of scalars, or of jaxface.losses.metrics, by name")
  for name, metric in metrics.items():
    for leaf in jax.tree.leaves(metric):
      _shape(term, where, f"metric {name!r}", leaf, leaf.shape[:1] if isinstance(metric, Members) else ())
  _check_class_rows(term, where)


def _check_class_rows(term: Any, where: str) -> None:
  """Matrices with a row per class, and only those, have names that begin with "center" if they are parameters.

  The training step shards arrays with such names over devices, and pads their rows.
  """
  few, more = (jax.eval_shape(lambda count=count: term.init(jax.random.key(0), SIZE, count)) for count in (CLASSES, 2 * CLASSES))
  for tree, grown, what in zip(few, more, ("parameter", "state"), strict=True):
    for (path, leaf), other in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(grown), strict=True):
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      named = any(part.startswith("center") for part in name.split("/"))
      axis = int("members_" in name)  # of an ensemble, see jaxface.layers.members
      if len(leaf.shape) < axis + 2 or not (named or (what == "parameter" and leaf.shape != other.shape)):
        continue
      rows = leaf.shape[axis] % CLASSES == 0 and other.shape[axis] == 2 * leaf.shape[axis]
      if not (named and rows):
        raise WrongPart(
          f"{called(term, where)}: {what} {name!r} has shape {leaf.shape} for {CLASSES} classes and embeddings of {SIZE}: a"
          f" matrix with a row for each class, and no other, has a name that begins with 'center':\n  {CENTERS}"
        )


def _shapes(run: Callable, part: Any, where: str, first: tuple[int, ...], second: tuple[int, ...]) -> Any:
  try:
    return jax.eval_shape(run, jax.ShapeDtypeStruct(first, np.float32), jax.ShapeDtypeStruct(second, np.float32))
  except WrongPart:
    raise
  except Exception as error:
    raise WrongPart(f"{called(part, where)} fails on a batch of {ROWS} rows: {failed(part, error)}") from error


def _shape(part: Any, where: str, what: str, found: Any, right: tuple[int, ...]) -> None:
  if getattr(found, "shape", None) != right:
    raise WrongPart(
      f"{called(part, where)}: {what} has shape {getattr(found, 'shape', type(found).__name__)} for {ROWS} rows and"
      f" {CLASSES} classes; expected {right}"
    )


def _same_tree(part: Any, where: str, what: str, before: Any, after: Any) -> None:
  shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
  if shapes[0] != shapes[1]:
    raise WrongPart(f"{called(part, where)}: {what} turns the state {shapes[0]} into {shapes[1]}; shapes and types must stay")


__all__ = ["CENTERS", "CLASSES", "MARGIN_MEMBERS", "SIZE", "TERM_MEMBERS", "check_margin", "check_term"]
