"""From records, folders or synthetic faces to batches in an exact order.

  data.synthesize("FACES", identities=100, images=10)  # a folder of rendered faces, to try things
  source = data.open_records("data/mine")             # or data.FolderSource("MY_FACES", size=(112, 112))
  order = data.UniformOrder(source.num_records, batch_size=128, seed=0)
  for image_bhwc, weight_b in data.batches(source, 128): ...

A `Source` gives faces by number; an order maps global positions to records, the same on any number of hosts; `Loader` reads
ahead and resumes at any step. `augment` runs on the device, keyed by the seed and each image's position.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
