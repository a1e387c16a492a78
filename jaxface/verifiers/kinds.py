"""The kinds of verifiers by name."""

from types import MappingProxyType

from jaxface.verifiers.base import Verifier
from jaxface.verifiers.joint_bayesian import JointBayesian
from jaxface.verifiers.plain import L2, Cosine, InnerProduct

VERIFIERS: MappingProxyType[str, type[Verifier]] = MappingProxyType({one.kind: one for one in (InnerProduct, L2, Cosine, JointBayesian)})

__all__ = ["VERIFIERS"]
