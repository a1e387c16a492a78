"""Complete runs: pack, train, verify, save, report, export; and from photos to answers.

  result = pipeline.train("folder", "runs/mine", overrides={"data.images": "MY_FACES"})   # the same as jaxface.train
  result.model.embed("OTHER_FACES")
  result.verification["unseen"].accuracy
  pipeline.find_leaks("data/mine", "LFW_ALIGNED").summary()   # test images in a training set
  pipeline.align_photos("PHOTOS", "aligned").summary()        # find, align, with a table and a contact sheet
  pipeline.compare_photos("a.jpg", "b.jpg").same              # with the default model and its threshold
  pipeline.enrol_people("people.gallery", "PEOPLE"); pipeline.identify_photo("people.gallery", "photo.jpg")
  pipeline.describe_experiments()                     # name and first line of each
  pipeline.describe_installation()                    # versions, devices, missing packages
  pipeline.check_cluster(experiment, "runs/mine").faults   # on each process of a run: what differs, which link is slow
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
