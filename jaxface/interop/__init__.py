"""Imports weights of other libraries, exports models.

  model = interop.import_model("backbone.pth", "iresnet50", "models/iresnet50", licence="MIT")
  model = interop.import_model("face.onnx", "mobilefacenet", preprocess="imagenet")
  interop.export_model(model, "face.onnx")            # preprocessing inside, checked against the model
  interop.export_model(model, "face.onnx", precision="int8", calibrate="faces/")
  interop.export_model(model, "face.stablehlo")       # for JAX alone, without jaxface
  interop.export_model(model, "face.safetensors")
  interop.push_model("runs/mine", "gs://bucket/mine")     # and interop.pull_model("gs://bucket/mine", "models/mine")

`import_onnx`, `import_state_dict`, `export_onnx`, `export_stablehlo` and `export_state_dict` are the parts, on a `SavedModel`.

Nothing in a file is executed or unpickled. docs/weights.md lists the supported formats.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
