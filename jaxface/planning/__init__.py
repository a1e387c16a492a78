"""Plans of runs on devices that need not be here: memory, work, exchange, time and cost of the compiled step.

  from jaxface import planning

  found = planning.plan("arcface_r50", "v5e:16x16", identities=10_000_000, overrides={"batch_size": "8192", "model.dtype": "bfloat16"})
  print("\\n".join(planning.plan_lines(found)))
  found.memory, found.fits, found.time.step, found.images_per_second

docs/plan.md says what is measured by the compiler, what is estimated, and what is assumed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
