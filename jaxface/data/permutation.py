"""A keyed permutation of any size, evaluated per element: shuffling without a table.

Swap-or-not: each round pairs x with (key − x) mod size and one hash bit decides whether the pair is swapped. It works for
any size (a Feistel network needs a power of two and cycle walking), so the same code shuffles data sets and identities of
two images. NumPy's generators are not used: their streams may change between versions, and a run must resume with another
version.

Source: Hoang, Morris, Rogaway, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO 2012; the hash is the finaliser of
splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
"""

import numpy as np

# Neighbours stay neighbours with probability one half per round.
ROUNDS = 24
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32, _S63 = (np.uint64(s) for s in (30, 27, 31, 32, 63))
_ROUND_N = (np.arange(1, ROUNDS + 1, dtype=np.uint64) * _GOLDEN)[:, None]


def mix(x_n: np.ndarray) -> np.ndarray:
  """Finaliser of splitmix64: uint64 → uint64, a bijection in which every input bit changes half of the output bits on average."""
  x_n = (x_n ^ (x_n >> _S30)) * _MIX1
  x_n = (x_n ^ (x_n >> _S27)) * _MIX2
  return x_n ^ (x_n >> _S31)


def keyed(*words: int | np.ndarray) -> np.ndarray:
  """Hash integers (and arrays of them, broadcast) to keys.

  Args:
    words: integers, or integer arrays that broadcast; their order matters.
  Returns:
    uint64 array of at least one dimension.
  """
  key_n = np.zeros(1, np.uint64)
  for word in words:
    word_n = np.atleast_1d(np.asarray(word)).astype(np.int64).view(np.uint64)
    key_n = mix((key_n + _GOLDEN) ^ mix(word_n + _GOLDEN))
  return key_n


def permute(index_n: np.ndarray, size: int | np.ndarray, key_n: np.ndarray) -> np.ndarray:
  """Images of indices under a keyed permutation of range(size).

  Args:
    index_n: [N] int in [0, size).
    size: size of the permutation, a scalar or [N]; at least 1 and less than 2³¹.
    key_n: [N] or [1] uint64 from `keyed`: one permutation for each key.
  Returns:
    [N] int64 in [0, size).
  """
  x_n = np.asarray(index_n, np.int64)
  size_n = np.atleast_1d(np.asarray(size, np.int64))
  bits_rn = mix(key_n[None] + _ROUND_N)
  # The high half of the hash selects the partner (multiply and shift instead of a division), the whole hash the bit.
  pivot_rn = ((bits_rn >> _S32) * size_n.astype(np.uint64) >> _S32).astype(np.int64)
  for pivot_n, bits_n in zip(pivot_rn, bits_rn):
    partner_n = pivot_n - x_n
    partner_n += (partner_n < 0) * size_n
    pair_n = np.maximum(x_n, partner_n).astype(np.uint64)
    pair_n = (pair_n * _GOLDEN ^ bits_n) * _MIX1
    swap_n = ((pair_n ^ (pair_n >> _S32)) * _MIX2 >> _S63).view(np.int64)
    x_n = x_n + (partner_n - x_n) * swap_n
  return x_n
