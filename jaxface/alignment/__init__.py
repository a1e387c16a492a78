"""Brings faces of photos into the frame of a template: points, transforms, warps.

  from jaxface import alignment

  crop_hwc = alignment.align(photo_hwc, point_k2, template="arcface112")     # 2, 5, 6, 21 or 68 points
  matrix_b23 = alignment.fit_similarity(point_bk2, alignment.template_points("arcface112", 5))
  crop_bhwc = alignment.warp(image_bhwc, matrix_b23, (112, 112))             # compiled, differentiable

A point is (x, y) in pixels, with pixel centres at whole numbers. A [2, 3] matrix maps points of the photo to points of the aligned
image, as in OpenCV. docs/alignment.md describes the point sets.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
