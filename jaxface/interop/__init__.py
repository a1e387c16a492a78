"""Weights of other libraries in, models out.

  saved = interop.import_onnx("face.onnx", model="mobilefacenet", preprocess="imagenet")
  saved = interop.import_state_dict("backbone.pth", model="iresnet50")
  interop.export_onnx(saved, "face.onnx")             # preprocessing inside, checked against the model
  interop.export_state_dict(saved, "face.safetensors")

Nothing of a file is executed or unpickled. docs/weights.md says what is read and what is not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
