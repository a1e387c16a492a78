"""Heads: class centres and the log-sum-exp; with a margin of `jaxface.losses` they compute a loss."""

from jaxface.heads.centers import init_centers
from jaxface.heads.class_head import ClassHead
from jaxface.heads.classification import Classification
from jaxface.heads.contract import Head, check_head
from jaxface.heads.padding import pad_classes, padded_classes
from jaxface.heads.per_member import PerMember
from jaxface.losses.dense import HeadResult, dense_head, margin_softmax

__all__ = [
  "ClassHead", "Classification", "Head", "HeadResult", "PerMember", "check_head", "dense_head", "init_centers", "margin_softmax",
  "pad_classes", "padded_classes",
]
