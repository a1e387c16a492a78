"""Descriptors of images that need no training on faces: local binary patterns, histograms of oriented gradients (HOG), dense local
descriptors, on a grid or at given points, and bags of visual words and VLAD, which sum these up in one vector.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
