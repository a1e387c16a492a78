"""Heads own the class centres and the log-sum-exp; with a margin of `jaxface.losses` they give a loss."""

from jaxface.heads.centers import init_centers
from jaxface.heads.classification import Classification
from jaxface.heads.contract import Head, check_head
from jaxface.heads.per_member import PerMember
from jaxface.losses.dense import HeadResult, dense_head, margin_softmax

__all__ = ["Classification", "Head", "HeadResult", "PerMember", "check_head", "dense_head", "init_centers", "margin_softmax"]
