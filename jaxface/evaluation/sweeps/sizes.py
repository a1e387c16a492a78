"""Verification with shorter embeddings: the first numbers of each, or principal components fitted on other images."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxface.evaluation.intervals.identity_units import units_of
from jaxface.evaluation.matrix_checks import unit_rows
from jaxface.evaluation.measures.folds import Folds, best_threshold
from jaxface.evaluation.measures.principal_components import fit_components
from jaxface.evaluation.pairs.pair_names import list_notes, matched
from jaxface.evaluation.pairs.pair_score import score_pairs
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.protocols.base import rows_of
from jaxface.formats.embeddings import Embeddings
from jaxface.formats.pairs import Pairs


def verify_truncated(embeddings: Embeddings, pairs: Pairs, size: int, *, train: Pairs | None = None) -> Verification:
  """Figures with the first `size` numbers of each embedding.

  Args:
    embeddings: named embeddings [N, D].
    pairs: the list.
    size: between 1 and D.
    train: pairs that set the threshold, see `verify_pairs`.
  Raises:
    ValueError: a size out of range; as `verify_pairs`.
  """
  check_size("size", size, embeddings.embedding_nd.shape[1])
  return verify_pairs(embeddings.embedding_nd[:, :size], embeddings.names, pairs, train=train)


def verify_components(
  embeddings: Embeddings, pairs: Pairs, sizes: Sequence[int], *, fit: Embeddings | None = None, train: Pairs | None = None
) -> Mapping[int, Verification]:
  """Figures with the first principal components of each embedding, which never see the images that they judge.

  By default the components of a fold are fitted on the list's images of identities that are not in this fold. The threshold of
  the fold is chosen on the other folds' pairs under the same components, so that nothing of the fold enters.

  Args:
    embeddings: named embeddings [N, D].
    pairs: the list.
    sizes: numbers of components.
    fit: embeddings of other images to fit on; None fits by folds.
    train: pairs that set the threshold, only with `fit`.
  Returns:
    `Verification` by size.
  Raises:
    ValueError: a size out of range; a list with one fold, or whose folds share all identities, without `fit`; `fit` has
      images of the list, or embeddings of another length; as `verify_pairs`.
  """
  if fit is None and train is not None:
    raise ValueError("a list that sets the threshold needs embeddings to fit on (--pca-from FILE): components by folds choose thresholds by folds")
  pairs, train = matched(pairs, embeddings.names), train and matched(train, embeddings.names)
  judged = list(dict.fromkeys([*pairs.left, *pairs.right]))
  images = list(dict.fromkeys([*judged, *(train.left if train else ()), *(train.right if train else ())]))
  unit_id = unit_rows(embeddings.embedding_nd[rows_of(embeddings, images)[0]], names=images)
  if fit is None:
    return _by_folds(unit_id, images, pairs, sizes)
  fitted = fit_components(_other_images(fit, judged, unit_id.shape[1]))
  for size in sizes:
    check_size("components", size, len(fitted.axis_kd))
  return {size: verify_pairs(fitted.apply(unit_id, size), images, pairs, train=train) for size in sizes}


def _by_folds(unit_id: np.ndarray, images: list[str], pairs: Pairs, sizes: Sequence[int]) -> dict[int, Verification]:
  numbers, count = np.unique(pairs.fold, return_counts=True)
  if len(numbers) < 2:
    raise ValueError(
      f"{pairs.file or 'the list'} has one fold: components fitted on its own images would see what they judge. Give"
      " embeddings of other images (--pca-from FILE), or a list with folds"
    )
  units, row_of = units_of(pairs), {name: row for row, name in enumerate(images)}
  left_p, right_p = (np.array([row_of[name] for name in side]) for side in (pairs.left, pairs.right))
  unit_i = np.empty(len(images), np.int64)
  unit_i[left_p], unit_i[right_p] = units.left_p, units.right_p
  threshold, accuracy = {size: np.empty(len(numbers)) for size in sizes}, {size: np.empty(len(numbers)) for size in sizes}
  score = {size: np.empty(len(pairs)) for size in sizes}
  for index, number in enumerate(numbers):
    inside_p = pairs.fold == number
    judged = np.union1d(units.left_p[inside_p], units.right_p[inside_p])
    other_i = ~np.isin(unit_i, judged)
    if other_i.sum() < 2:
      raise ValueError(
        f"{pairs.file or 'the list'}: fewer than two images show nobody of fold {number}: give embeddings of other images to fit"
        " components on (--pca-from FILE)"
      )
    fitted = fit_components(unit_id[other_i])
    for size in sizes:
      check_size("components", size, len(fitted.axis_kd))
      score_p = score_pairs(fitted.apply(unit_id, size), images, pairs)[1]
      threshold[size][index] = best_threshold(score_p[~inside_p], pairs.same[~inside_p])
      score[size][inside_p] = score_p[inside_p]
      accuracy[size][index] = np.mean((score_p[inside_p] >= threshold[size][index]) == pairs.same[inside_p])
  notes = tuple(list_notes(pairs))
  return {
    size: Verification(pairs, score[size], Folds(numbers, count, accuracy[size], threshold[size], "other folds"), notes) for size in sizes
  }


def _other_images(fit: Embeddings, images: list[str], size: int) -> np.ndarray:
  """The embeddings to fit on, at length one, if none of them is judged."""
  if fit.embedding_nd.shape[1] != size:
    raise ValueError(f"the embeddings to fit components on have {fit.embedding_nd.shape[1]} numbers, those of the pairs {size}: use one model")
  if shared := set(fit.names) & set(images):
    raise ValueError(
      f"{len(shared):,} of the {len(fit.names):,} images to fit components on are in the pair list (first: {min(shared)!r}): fit on"
      " other images, or by folds"
    )
  return unit_rows(fit.embedding_nd, names=fit.names)


def check_size(what: str, size: int, most: int) -> None:
  """Raises a ValueError for a number of dimensions outside of 1 … `most`."""
  if not (float(size).is_integer() and 1 <= size <= most):
    raise ValueError(f"{what} = {size:g}: these embeddings allow whole numbers from 1 to {most}")


__all__ = ["check_size", "verify_components", "verify_truncated"]
