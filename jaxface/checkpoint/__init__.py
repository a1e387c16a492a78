"""Checkpoints through Orbax: trees of arrays, and the last and best states of a run, with checksums of all files.

A checkpoint of another model is rejected with the name of the first leaf that differs: Orbax alone would pad or cut
an array whose shape changed. A damaged file is an error with its name. Names are loaded when they are first used, so that what
only compares leaves needs no Orbax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
