"""Boxes, as `jaxface.detection` exports them."""

from jaxface.geometry.rectangles import (
  box_areas,
  clip_boxes,
  decode_boxes,
  encode_boxes,
  iou,
  overlaps,
  square_boxes,
)

__all__ = ["box_areas", "clip_boxes", "decode_boxes", "encode_boxes", "iou", "overlaps", "square_boxes"]
