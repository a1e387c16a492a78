"""The kinds of verifiers by name."""

from types import MappingProxyType

from jaxface.verifiers.base import Verifier
from jaxface.verifiers.chi_square import ChiSquare
from jaxface.verifiers.fusion import Fusion
from jaxface.verifiers.joint_bayesian import JointBayesian
from jaxface.verifiers.neural import Neural
from jaxface.verifiers.plain import L2, Cosine, InnerProduct
from jaxface.verifiers.siamese import Siamese

_KINDS: tuple[type[Verifier], ...] = (InnerProduct, L2, Cosine, JointBayesian, ChiSquare, Siamese, Neural, Fusion)
VERIFIERS: MappingProxyType[str, type[Verifier]] = MappingProxyType({one.kind: one for one in _KINDS})

__all__ = ["VERIFIERS"]
