"""Files: packed records, embeddings, pair lists.

  formats.pack("MY_FACES", "data/mine")               # sharded TFRecords, index, manifest
  formats.verify_records("data/mine")                 # every fault; [] where there is none
  print(formats.describe_records("data/mine"))        # counts, and images per identity
  formats.write_embeddings("mine.npz", formats.Embeddings(embedding_nd, names))
  pairs = formats.read_pairs("pairs.txt")

Errors in damaged files name file, offset and record (`DamagedData`). Files are written atomically.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
