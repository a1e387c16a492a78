"""What a head of your own must offer (docs/own_parts.md): it is a term that owns class centres."""

from typing import Any, Protocol

import jax
from jax import Array

from jaxface.losses.contract import CLASSES, SIZE, check_margin, check_term
from jaxface.losses.own_part import WrongPart, called, is_own
from jaxface.losses.term import Term

INIT = "def init(self, key, embedding_size, num_classes): return heads.init_centers(key, num_classes, embedding_size, {}), {}"
WITH_MARGIN = INIT.format("self.margin.geometry", "self.margin.init_state()")
ALONE = INIT.format("losses.Geometry(unit_x=True, unit_w=True)", "{}")


class Head(Term, Protocol):
  """A term that owns class centres; a frozen dataclass.

  A margin that it works with stands in a field `margin`, as in `Classification`: it is checked too, and every margin can be
  chosen by name (`--terms.0.margin arcface`).
  """

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict[str, Any], Any]:
    """Parameters with the class centres, and state.

    Args:
      key: random key.
      embedding_size: D.
      num_classes: C, identities of the training set.
    Returns:
      A dictionary with center_cd [C·K, D], the K centres of a class in consecutive rows, where K is
      `margin.geometry.subcenters`, or 1 without a margin; the constants of the classes, if there are any, are bias_c [C]. Both
      are kept with the names of the identities when a run ends, and found again by a run that begins with its model.
      `jaxface.heads.init_centers` draws them. Every call gets them in these shapes, on however many devices.
    """


def check_head(head: Any, where: str = "head") -> None:
  """Try a head, and its margin, on shapes alone; nothing is computed.

  Args:
    head: see `Head`.
    where: the place it is given at, for messages.
  Raises:
    WrongPart: a member is missing, takes other arguments, or returns something else.
  """
  margin = _margin(head)
  if margin is not None:
    check_margin(margin, f"{where}.margin")
  params = _started(head)
  if params is not None:
    subcenters = 1 if margin is None else margin.geometry.subcenters
    right = {"center_cd": (CLASSES * subcenters, SIZE), "bias_c": (CLASSES,)}
    found = {name: params[name].shape for name in right if isinstance(params, dict) and name in params}
    if "center_cd" not in found or any(shape != right[name] for name, shape in found.items()):
      raise WrongPart(
        f"{called(head, where)}: init gives {found or 'no center_cd'} for {CLASSES} classes and embeddings of {SIZE}; a head keeps"
        f" its class centres as center_cd {right['center_cd']}, and constants of the classes, if any, as bias_c"
        f" {right['bias_c']}:\n  {ALONE if margin is None else WITH_MARGIN}"
      )
  check_term(head, where)


def check_own_parts(term: Any, where: str) -> None:
  """Check whatever is the user's own in a term of an experiment: itself, its margin, and what it wraps.

  Raises:
    WrongPart: says what to add or to change.
  """
  if is_own(term):
    params = _started(term)
    is_head = _margin(term) is not None or (isinstance(params, dict) and "center_cd" in params)
    (check_head if is_head else check_term)(term, where)
  margin = _margin(term)
  while margin is not None:
    where = f"{where}.margin"
    if is_own(margin):
      check_margin(margin, where)
    margin = _margin(margin)  # of `Filtered`
  if hasattr(term, "term"):  # of `PerMember`
    check_own_parts(term.term, f"{where}.term")


def _margin(part: Any) -> Any:
  """The margin that stands in a field of a part; a distance, as `TripletLoss.margin` is one, is none."""
  margin = getattr(part, "margin", None)
  return None if isinstance(margin, (int, float)) else margin


def _started(term: Any) -> Any:
  """Shapes of a term's parameters, None where they cannot be had: `check_term` says why."""
  try:
    return jax.eval_shape(lambda: term.init(jax.random.key(0), SIZE, CLASSES))[0]
  except Exception:
    return None


__all__ = ["Head", "check_head", "check_own_parts"]
