"""Purposes of random numbers. Each purpose folds its own number into the seed, so that no two share a stream.

On the device a key is `device_key(root, purpose, *numbers)`: the purpose is folded in first, then the numbers that
distinguish the draws of one purpose (step, part of the batch, term, position). On the host it is `keyed(seed, purpose,
*numbers)` of `jaxface.data.permutation`, with the same purposes. Synthetic faces use counter-based streams of a separate
seed, `data.synthetic.seed`.

| purpose | seed | numbers |
|---|---|---|
| EPOCH, LAP, IMAGES, OTHERS, TRIPLETS | `seed` | see `jaxface.data.order` and `jaxface.data.triplets` |
| MIXTURE | `seed` | set, epoch of the set |
| STREAM | `seed` | lane, epoch of the lane, window |
| HOLDOUT | `data.seed` | none |
| SUBSTITUTE | 0 | position, damaged record, attempt |
| PAIRS | `evaluation.N.seed` | none |
| NETWORK | `seed` | none |
| TERM_INIT | `seed` | term |
| TERM | `seed` | step, part of the batch, term |
| DROPOUT | `seed` | step, part of the batch |
| AUGMENT | `seed` | position (high and low 32 bits), operation |
| CLASSES | `seed` | step, term |
| ROUNDING | `seed` | step, term, class |

HOLDOUT and PAIRS define the verification set. They have separate seeds, so that runs with other training seeds are verified
on the same people and pairs.
"""

import enum

import jax
from jax import Array


class Purpose(enum.IntEnum):
  """Purpose of a draw. Append only: existing runs depend on the numbers."""

  EPOCH = 0  # order of the records of an epoch
  LAP = 1  # order of the identities of a lap
  IMAGES = 2  # order of the images of an identity
  OTHERS = 3  # records of other identities at the end of a balanced batch
  TRIPLETS = 4  # order of the listed triplets
  HOLDOUT = 5  # identities held out of training
  SUBSTITUTE = 6  # replacements of damaged records
  PAIRS = 7  # verification pairs if no list is given
  NETWORK = 8  # initial values of the network
  TERM_INIT = 9  # initial values of the objective's terms
  TERM = 10  # draws of a term in a step
  DROPOUT = 11
  AUGMENT = 12
  CLASSES = 13  # classes that a sampled head scores in a step
  ROUNDING = 14  # rounding of bfloat16 class centres
  MIXTURE = 15  # order of the records of an epoch of one set of a mixture
  STREAM = 16  # order of the shards of an epoch of one lane of a stream, and of the records of a window


def device_key(root: Array, purpose: Purpose, *numbers: Array | int) -> Array:
  """The key of one draw.

  Args:
    root: `jax.random.key(seed)`.
    purpose: purpose of the draw.
    numbers: identify the draw within its purpose, uint32 each; their order matters.
  Returns:
    A key.
  """
  key = jax.random.fold_in(root, int(purpose))
  for number in numbers:
    key = jax.random.fold_in(key, number)
  return key


__all__ = ["Purpose", "device_key"]
