"""Detection of faces: boxes, suppression of overlapping boxes, and detectors by name.

  kept = detection.nms(box_n4, score_n, 0.5)               # indices by falling score
  detection.iou(box_n4, truth_m4)                          # [N, M]

Boxes are (x0, y0, x1, y1) in pixels. docs/detection.md describes the detectors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
