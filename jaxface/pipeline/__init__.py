"""A complete run: pack, train, verify, save, report, export.

  result = pipeline.train("folder", "runs/mine", overrides={"data.images": "MY_FACES"})   # the same as jaxface.train
  result.model.embed("OTHER_FACES")
  result.verification["unseen"].accuracy
  pipeline.find_leaks("data/mine", "LFW_ALIGNED").summary()   # test images in a training set
  pipeline.describe_experiments()                     # name and first line of each
  pipeline.describe_installation()                    # versions, devices, missing packages
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
