"""Experiments and the loop that runs them.

  experiment = training.load_experiment("quickstart")[0].with_overrides({"steps": "500"})
  trained = training.train(experiment, training.Workdir("runs/mine"), source)

`jaxface.train` runs all stages from images to a verified, saved and exported model. This package has the parts: the
`Experiment` (one frozen value), the parts that it is resolved into (`resolve_run`: network, data, objective, optimizer,
batches, plan), the compiled step, the loop with exact resume, logs and the optimizer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
