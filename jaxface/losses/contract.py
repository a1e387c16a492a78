"""What a margin and a term of your own must offer, checked when they are given: what is missing, with the line to add."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses.joint import Geometry, Margin, Prep
from jaxface.losses.metrics import Members
from jaxface.losses.term import SCOPES, Term, scope

# Near those of real runs, so that a part may look at its ten nearest classes or split an embedding; only shapes are computed.
ROWS, SIZE, CLASSES = 48, 512, 100

# member: the line that a class without it may add.
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


class WrongPart(TypeError):
  """A margin or a term that does not keep its contract; the message says what to add or to change."""


def check_margin(margin: Any, where: str = "margin") -> None:
  """Try a margin on shapes alone; nothing is computed.

  Args:
    margin: see `jaxface.losses.Margin`.
    where: the place it is given at, for messages.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  _members(margin, where, Margin, MARGIN_MEMBERS)
  if not isinstance(margin.geometry, Geometry):
    raise WrongPart(
      f"{_called(margin, where)}: geometry is {margin.geometry!r}; it must be a losses.Geometry, such as"
      f" {MARGIN_MEMBERS['geometry']}"
    )

  def run(score_bc: Any, norm_b: Any) -> Any:
    target_b, key = score_bc[:, 0], jax.random.key(0)
    prep = margin.prepare(
      target_b, norm_b, jnp.ones(ROWS), state=margin.init_state(), step=jnp.zeros((), jnp.int32), key=key, reduce=lambda x: x
    )
    if not isinstance(prep, Prep):
      raise WrongPart(f"{_called(margin, where)}: prepare returns {type(prep).__name__}: {MARGIN_MEMBERS['prepare']}")
    return prep, margin.target(target_b, prep.ctx), margin.others(score_bc, prep.ctx)

  prep, target_b, other_bc = _shapes(run, margin, where, (ROWS, CLASSES), (ROWS,))
  _shape(margin, where, "prepare's penalty_b", prep.penalty_b, (ROWS,))
  _shape(margin, where, "target", target_b, (ROWS,))
  _shape(margin, where, "others", other_bc, (ROWS, CLASSES))
  _same_tree(margin, where, "prepare", jax.eval_shape(margin.init_state), prep.state)


def check_term(term: Any, where: str = "term") -> None:
  """Try a term on shapes alone; nothing is computed.

  Args:
    term: see `jaxface.losses.Term`.
    where: the place it is given at, for messages.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  _members(term, where, Term, TERM_MEMBERS)
  if scope(term) not in SCOPES:
    raise WrongPart(f"{_called(term, where)}: scope is {scope(term)!r}; it must be one of {', '.join(SCOPES)}")

  def run(embedding_bd: Any, weight_b: Any) -> Any:
    key = jax.random.key(0)
    started = term.init(key, SIZE, CLASSES)
    if not (isinstance(started, tuple) and len(started) == 2):
      raise WrongPart(f"{_called(term, where)}: init must return (parameters, state): {TERM_MEMBERS['init']}")
    inputs = {"embedding_bd": embedding_bd, "label_b": jnp.zeros(ROWS, jnp.int32), "weight_b": weight_b}
    given = term(started[0], inputs, state=started[1], step=jnp.zeros((), jnp.int32), key=key)
    if not (isinstance(given, tuple) and len(given) == 3):
      raise WrongPart(f"{_called(term, where)}: a call must return (loss_b, state, metrics): {TERM_MEMBERS['__call__']}")
    return started[1], given

  before, (loss_b, state, metrics) = _shapes(run, term, where, (ROWS, SIZE), (ROWS,))
  _shape(term, where, "the loss", loss_b, (ROWS,))
  _same_tree(term, where, "a call", before, state)
  if not isinstance(metrics, Mapping):
    raise WrongPart(f"{_called(term, where)}: metrics are {type(metrics).__name__}; they must be a dict of scalars, or of jaxface.losses.metrics, by name")
  for name, metric in metrics.items():
    for leaf in jax.tree.leaves(metric):
      _shape(term, where, f"metric {name!r}", leaf, leaf.shape[:1] if isinstance(metric, Members) else ())


def _called(part: Any, where: str) -> str:
  kind = type(part) if not isinstance(part, type) else part
  return f"{where}: {kind.__module__}.{kind.__qualname__}"


def _members(part: Any, where: str, protocol: type, members: Mapping[str, str]) -> None:
  if isinstance(part, type):
    raise WrongPart(f"{_called(part, where)} is a class: give an object of it, {part.__name__}()")
  missing = [line for name, line in members.items() if not hasattr(part, name)]
  if missing:
    raise WrongPart(f"{_called(part, where)} is no {protocol.__name__.lower()} yet. Add:\n" + "\n".join(f"  {line}" for line in missing))
  for name, line in members.items():
    if not line.startswith("def "):
      continue
    wanted = inspect.signature(getattr(protocol, name))
    own = inspect.signature(getattr(part, name))
    positional = [p for p in wanted.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    named = {p.name: None for p in wanted.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
      own.bind(*[None] * len(positional), **named)
    except TypeError as error:
      raise WrongPart(f"{_called(part, where)}: {name} takes {own}, but {error}. It is called as in:\n  {line}") from error


def _shapes(run: Callable, part: Any, where: str, first: tuple[int, ...], second: tuple[int, ...]) -> Any:
  try:
    return jax.eval_shape(run, jax.ShapeDtypeStruct(first, np.float32), jax.ShapeDtypeStruct(second, np.float32))
  except WrongPart:
    raise
  except Exception as error:
    raise WrongPart(f"{_called(part, where)} fails on a batch of {ROWS} rows: {type(error).__name__}: {error}") from error


def _shape(part: Any, where: str, what: str, found: Any, right: tuple[int, ...]) -> None:
  if getattr(found, "shape", None) != right:
    raise WrongPart(
      f"{_called(part, where)}: {what} has shape {getattr(found, 'shape', type(found).__name__)} for {ROWS} rows and"
      f" {CLASSES} classes; expected {right}"
    )


def _same_tree(part: Any, where: str, what: str, before: Any, after: Any) -> None:
  shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
  if shapes[0] != shapes[1]:
    raise WrongPart(f"{_called(part, where)}: {what} turns the state {shapes[0]} into {shapes[1]}; shapes and types must stay")


__all__ = ["MARGIN_MEMBERS", "TERM_MEMBERS", "WrongPart", "check_margin", "check_term"]
