"""Batches from records, folders or synthetic faces, in a reproducible order.

  data.synthesize("FACES", identities=100, images=10)  # a folder of rendered faces, to try things
  source = data.open_records("data/mine")             # or data.FolderSource("MY_FACES", size=(112, 112))
  order = data.UniformOrder(source.num_records, batch_size=128, seed=0)
  for image_bhwc, weight_b in data.batches(source, 128): ...

A `Source` reads faces by record number. An order maps global positions to records, independent of the number of hosts. `Loader`
prefetches and resumes at any step. `augment` runs on the device, keyed by the seed and each image's position.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
