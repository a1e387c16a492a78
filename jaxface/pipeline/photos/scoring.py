"""Faces of photos scored by a verifier: whether it fits the network, and the threshold of its scores."""

from math import isfinite
from pathlib import Path

from jaxface.gallery import Maker
from jaxface.inference.model import Model
from jaxface.pipeline.photos.decision import MIRROR, Decision, load_for_photos, network_and_rule, template_of
from jaxface.verifiers import Verifier, read_verifier
from jaxface.verifiers.file import verifier_digest


def maker_of(net: Model, verifier: Verifier | None) -> Maker:
  """What makes the embeddings of a gallery, and scores them."""
  return Maker(net.name, net.saved.digest, template_of(net), MIRROR, "" if verifier is None else verifier_digest(verifier))


def prepared(
  model: Model | str | Path | None, verifier: Verifier | str | Path | None, threshold: float | None
) -> tuple[Model, Verifier | None, Decision]:
  """The network, the verifier if there is one, and the rule.

  Args:
    model: a `Model`, or its folder; None for the default (`jaxface use`).
    verifier: a `Verifier`, or its file; None is the cosine.
    threshold: cosine, or score of the verifier; None for the measured one.
  Raises:
    FileNotFoundError, ValueError, DamagedData: as `network_and_rule`, `verifier_for` and `rule_of_verifier`.
  """
  if verifier is None:
    net, decision = network_and_rule(model, threshold)
    return net, None, decision
  net = load_for_photos(model)
  scored = verifier_for(verifier, net)
  assert scored is not None
  return net, scored, rule_of_verifier(scored, threshold)


def verifier_for(verifier: Verifier | str | Path | None, net: Model) -> Verifier | None:
  """The verifier that scores embeddings of a network.

  Args:
    verifier: a `Verifier`, or its file; None is the cosine.
    net: the network.
  Raises:
    ValueError: it was fitted on embeddings of another model or making, or on the network's own numbers.
    DamagedData: its file is damaged.
  """
  if verifier is None:
    return None
  found = verifier if isinstance(verifier, Verifier) else read_verifier(verifier)
  if found.raw:
    raise ValueError(f"{found.name} was fitted on the network's own numbers (--raw), photos are compared by embeddings of length one: fit it on those")
  found.check_meta({"model_digest": net.saved.digest, "mirror": MIRROR}, f"embeddings of {net.name} for photos")
  if found.front.size != net.embedding_size:
    raise ValueError(f"{found.name} compares embeddings of {found.front.size} numbers, those of {net.name} have {net.embedding_size}")
  return found


def rule_of_verifier(verifier: Verifier, threshold: float | None) -> Decision:
  """The rule by the scores of a verifier.

  Args:
    verifier: the verifier.
    threshold: one of its scores; None for the measured one in its file.
  Raises:
    ValueError: no threshold was measured, or the given one is not finite.
  """
  if threshold is not None:
    if not isfinite(threshold):
      raise ValueError(f"threshold {threshold}: it must be a finite score")
    return Decision(threshold, None, score=verifier.name)
  if verifier.threshold is None:
    raise ValueError(
      f"{verifier.name} has no threshold, and that of the model is a cosine: measure it with `jaxface threshold --far 1e-3 --embeddings FILE --pairs LIST"
      " --verifier FILE --write FILE`, or give --threshold SCORE"
    )
  return Decision(verifier.threshold.value, verifier.threshold.far, score=verifier.name)


__all__ = ["maker_of", "prepared", "rule_of_verifier", "verifier_for"]
