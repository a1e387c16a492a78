"""Contract of a user-defined head (docs/own_parts.md): a term with class centres."""

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
  """A term with class centres; a frozen dataclass.

  A head that uses a margin has it in a field `margin`, as `Classification` does: it is checked too, and can be set by name
  (`--terms.0.margin arcface`).
  """

  def init(self, key: Array, embedding_size: int, num_classes: int) -> tuple[dict[str, Any], Any]:
    """Parameters with the class centres, and state.

    Args:
      key: random key.
      embedding_size: D.
      num_classes: C, identities of the training set.
    Returns:
      A dictionary with center_cd [C·K, D], the K centres of a class in consecutive rows, where K is
      `margin.geometry.subcenters`, or 1 without a margin; biases of the classes, if any, are bias_c [C]. Both are
      saved with the names of the identities at the end of a run, and loaded by a run that starts from its model.
      `jaxface.heads.init_centers` creates them. Every call gets them in these shapes, on any number of devices.
    """


def check_head(head: Any, where: str = "head") -> None:
  """Check a head and its margin by abstract evaluation; no values are computed.

  Args:
    head: see `Head`.
    where: name of its field, for messages.
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
        f" its class centres as center_cd {right['center_cd']}, and biases of the classes, if any, as bias_c"
        f" {right['bias_c']}:\n  {ALONE if margin is None else WITH_MARGIN}"
      )
  check_term(head, where)


def check_own_parts(term: Any, where: str) -> None:
  """Check the user-defined parts of a term of an experiment: the term, its margin, and the term that it wraps.

  Raises:
    WrongPart: the message says what to add or change.
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
  """The margin in a field of a part; None if it is a number, as in `TripletLoss.margin`."""
  margin = getattr(part, "margin", None)
  return None if isinstance(margin, (int, float)) else margin


def _started(term: Any) -> Any:
  """Shapes of a term's parameters; None if `init` fails, which `check_term` reports."""
  try:
    return jax.eval_shape(lambda: term.init(jax.random.key(0), SIZE, CLASSES))[0]
  except Exception:
    return None


__all__ = ["Head", "check_head", "check_own_parts"]
