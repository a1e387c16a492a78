"""EM of Joint Bayesian: covariances between and within identities, from identities with any number of images.

The model is x = μ + ε with μ ~ N(0, S_μ) for each identity and ε ~ N(0, S_ε) for each image. For the m images of an identity, mean x̄,
E[μ | x] = m S_μ (m S_μ + S_ε)⁻¹ x̄ and E[ε_j | x] = x_j − E[μ | x]; both depend on the images by x̄ alone. S_ε = T Tᵀ and
S_μ = T diag(λ) Tᵀ make everything diagonal in y = T⁻¹ x̄, where the factor of E[μ | x] is m λ / (m λ + 1): one row of factors for each number
of images. An iteration takes time in proportion to identities · D² + D³, however many images there are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxface.losses.ranges import check_name

UPDATES = ("published", "exact")
BLOCK = 4096  # identities at a time


class Statistics(NamedTuple):
  """What EM needs of the images.

  Attributes:
    mean_id: [I, D] float64, mean of each identity's images.
    count_i: [I] int64, number of its images.
    within_dd: [D, D] float64, scatter of the images around their identity's mean.
  """

  mean_id: np.ndarray
  count_i: np.ndarray
  within_dd: np.ndarray


class Step(NamedTuple):
  """An iteration of EM.

  Attributes:
    log_likelihood: of an image, in nats: that of all images under the covariances before this iteration, divided by their number.
    change: relative change of the covariances by this iteration, the larger one of both.
  """

  log_likelihood: float
  change: float


def statistics(row_nd: np.ndarray, identity_n: np.ndarray) -> Statistics:
  """The statistics of images.

  Args:
    row_nd: [N, D] float64, around their mean.
    identity_n: [N] int64, from 0 on, each number present.
  """
  count_i = np.bincount(identity_n)
  order = np.argsort(identity_n, kind="stable")
  sorted_nd = row_nd[order]
  mean_id = np.add.reduceat(sorted_nd, np.cumsum(count_i) - count_i) / count_i[:, None]
  apart_nd = sorted_nd - mean_id[identity_n[order]]
  return Statistics(mean_id, count_i, apart_nd.T @ apart_nd)


def run_em(
  given: Statistics, *, update: str = "exact", iterations: int = 100, tolerance: float = 1e-4, done: Callable[[int, Step], object] | None = None
) -> tuple[np.ndarray, np.ndarray, list[Step]]:
  """Covariances by EM, from those of linear discriminant analysis on.

  Args:
    given: statistics of the images.
    update: "exact" is the M-step of maximum likelihood: the covariances of the expectations of μ and ε, plus the covariances of μ and ε
      given the images. The likelihood never decreases. "published" leaves the second part out, as the paper does: S_μ comes out too small, the
      more so the fewer images an identity has, and the likelihood may decrease.
    iterations: at most so many.
    tolerance: end when neither covariance changes by more than this share (Frobenius norm).
    done: called after each iteration with its number from 1 on.
  Returns:
    (S_μ [D, D], S_ε [D, D], the iterations), float64.
  Raises:
    ValueError: an unknown update; nobody has two images; too few images for the size D; numbers out of range.
  Source: Chen et al., "Bayesian Face Revisited: A Joint Formulation", 2012, model learning ("EM-like"); their expectations are these, written with
    F and G.
  """
  check_name("update", update, UPDATES)
  if iterations < 1 or not tolerance >= 0:
    raise ValueError(f"{iterations} iterations, tolerance {tolerance}: at least one, and not negative")
  identities, size = given.mean_id.shape
  images = int(given.count_i.sum())
  free = images - identities
  if free < size:
    raise ValueError(
      f"{images:,} images of {identities:,} people leave {free:,} differences within people: embeddings of {size} numbers need at least as many."
      " Give more images of the same people, or fewer principal components"
    )
  import jax

  between_dd, within_dd = given.mean_id.T @ given.mean_id / identities, given.within_dd / free
  try:
    # Equal images of a person differ by the rounding of their mean, which a Cholesky factor may take for variance.
    if np.linalg.eigvalsh(within_dd)[0] <= size * np.finfo(np.float64).eps * np.linalg.eigvalsh(between_dd + within_dd)[-1]:
      raise np.linalg.LinAlgError("singular")
    np.linalg.cholesky(within_dd)
  except np.linalg.LinAlgError as error:
    raise ValueError(
      f"the images of the same people do not vary along all {size} numbers: use fewer principal components"
    ) from error
  history: list[Step] = []
  with jax.enable_x64(True):
    step = _compiled(update == "exact")
    data = _blocks(given)
    for number in range(1, iterations + 1):
      between, within, likelihood = (np.asarray(part) for part in step(between_dd, within_dd, given.within_dd, *data))
      if not (np.isfinite(between).all() and np.isfinite(within).all()):
        raise ValueError(f"iteration {number} of EM has numbers that are not finite: use fewer principal components")
      change = max(np.linalg.norm(new - old) / max(np.linalg.norm(old), np.finfo(float).tiny) for new, old in ((between, between_dd), (within, within_dd)))
      history.append(Step(float(likelihood) / images, float(change)))
      between_dd, within_dd = between, within
      if done:
        done(number, history[-1])
      if change <= tolerance:
        break
  return between_dd, within_dd, history


def _blocks(given: Statistics) -> tuple[np.ndarray, ...]:
  """Identities in blocks of one size, sorted by their numbers of images; those added to fill the last block have weight 0."""
  counts_c, group_i = np.unique(given.count_i, return_inverse=True)
  identities, size = given.mean_id.shape
  block = min(BLOCK, identities)
  added = -identities % block
  weight = np.pad(np.ones(identities), (0, added)).reshape(-1, block)
  mean = np.pad(given.mean_id, ((0, added), (0, 0))).reshape(-1, block, size)
  return mean, np.pad(group_i.reshape(-1), (0, added)).reshape(-1, block), weight, counts_c.astype(np.float64), np.bincount(group_i.reshape(-1)).astype(np.float64)


def _compiled(exact: bool) -> Callable:
  import jax
  import jax.numpy as jnp

  def step(between_dd, within_dd, scatter_dd, mean_xid, group_xi, weight_xi, count_c, people_c):  # noqa: ANN001
    factor_dd = jnp.linalg.cholesky(within_dd)
    inverse_dd = jax.scipy.linalg.solve_triangular(factor_dd, jnp.eye(len(factor_dd)), lower=True)
    value_k, vector_dk = jnp.linalg.eigh(inverse_dd @ between_dd @ inverse_dd.T)
    value_k = jnp.maximum(value_k, 0)
    out_dk, in_kd = factor_dd @ vector_dk, vector_dk.T @ inverse_dd
    # One row of factors for each number of images.
    share_ck = count_c[:, None] * value_k / (count_c[:, None] * value_k + 1)
    rest_ck = 1 / (count_c[:, None] * value_k + 1)

    def add(total, block):  # noqa: ANN001
      mean_id, group_i, weight_i = block
      y_ik = mean_id @ in_kd.T * weight_i[:, None]
      expected_ik, rest_ik = y_ik * share_ck[group_i], y_ik * rest_ck[group_i]
      count_i = (count_c[group_i] * weight_i)[:, None]
      parts = expected_ik.T @ expected_ik, (rest_ik * count_i).T @ rest_ik, (count_i * y_ik * rest_ik).sum()
      return tuple(old + new for old, new in zip(total, parts)), None

    start = jnp.zeros_like(within_dd), jnp.zeros_like(within_dd), jnp.zeros(())
    (expected_kk, rest_kk, square), _ = jax.lax.scan(add, start, (mean_xid, group_xi, weight_xi))
    if exact:
      # Covariance of μ given m images, λ / (m λ + 1) on the diagonal, which is that of every ε of these images too.
      expected_kk += jnp.diag(people_c @ (value_k * rest_ck))
      rest_kk += jnp.diag((people_c * count_c) @ (value_k * rest_ck))
    images = people_c @ count_c
    likelihood = -0.5 * (
      square - people_c @ jnp.log(rest_ck).sum(1) + (inverse_dd @ scatter_dd * inverse_dd).sum()
      + images * (2 * jnp.log(jnp.diag(factor_dd)).sum() + len(within_dd) * jnp.log(2 * jnp.pi))
    )
    new_between_dd = out_dk @ expected_kk @ out_dk.T / people_c.sum()
    new_within_dd = (scatter_dd + out_dk @ rest_kk @ out_dk.T) / images
    return (new_between_dd + new_between_dd.T) / 2, (new_within_dd + new_within_dd.T) / 2, likelihood

  return jax.jit(step)


__all__ = ["UPDATES", "Statistics", "Step", "run_em", "statistics"]
