"""What random numbers are drawn for. Every purpose draws from its own fold of a seed, so that no two share a stream.

On the device a key is `device_key(root, purpose, *numbers)`: the purpose is folded in first, then what distinguishes the
draws of one purpose (step, part of the batch, term, position). On the host it is `keyed(seed, purpose, *numbers)` of
`jaxface.data.permutation`, with the same purposes. Synthetic faces are counter-based streams of `data.synthetic.seed`, a
seed of their own.

| purpose | seed | numbers |
|---|---|---|
| EPOCH, LAP, IMAGES, OTHERS, TRIPLETS | `seed` | see `jaxface.data.order` and `jaxface.data.triplets` |
| HOLDOUT | `data.seed` | none |
| SUBSTITUTE | 0 | position, damaged record, attempt |
| PAIRS | `evaluation.N.seed` | none |
| NETWORK | `seed` | none |
| TERM_INIT | `seed` | term |
| TERM | `seed` | step, part of the batch, term |
| DROPOUT | `seed` | step, part of the batch |
| AUGMENT | `seed` | position (high and low 32 bits), operation |

HOLDOUT and PAIRS make the exam: their seeds are fields of their own, so that another training seed is judged on the same
people and pairs.
"""

import enum

import jax
from jax import Array


class Purpose(enum.IntEnum):
  """What numbers are drawn for. Append only: the numbers are part of every run that has begun."""

  EPOCH = 0  # order of the records of an epoch
  LAP = 1  # order of the identities of a lap
  IMAGES = 2  # order of the images of an identity
  OTHERS = 3  # records of other identities at the end of a balanced batch
  TRIPLETS = 4  # order of the listed triplets
  HOLDOUT = 5  # identities kept out of training
  SUBSTITUTE = 6  # records in place of damaged ones
  PAIRS = 7  # verification pairs where no list is given
  NETWORK = 8  # first values of the network
  TERM_INIT = 9  # first values of the objective's terms
  TERM = 10  # what a term draws in a step
  DROPOUT = 11
  AUGMENT = 12


def device_key(root: Array, purpose: Purpose, *numbers: Array | int) -> Array:
  """The key of one draw.

  Args:
    root: `jax.random.key(seed)`.
    purpose: what for.
    numbers: which draw of that purpose, uint32 each; their order matters.
  Returns:
    A key.
  """
  key = jax.random.fold_in(root, int(purpose))
  for number in numbers:
    key = jax.random.fold_in(key, number)
  return key


__all__ = ["Purpose", "device_key"]
