"""What the tests of all kinds of verifiers share."""

from collections.abc import Callable

import numpy as np
import pytest

from jaxface.verifiers import Verifier, read_verifier, write_verifier


@pytest.fixture
def through_a_file(tmp_path) -> Callable[..., Verifier]:
  """Function (verifier, left_pd, right_pd): writes and reads it; the scores of the pairs and the bytes of a second file are equal."""

  def through(verifier: Verifier, left_pd: np.ndarray, right_pd: np.ndarray) -> Verifier:
    write_verifier(tmp_path / "a.npz", verifier)
    again = read_verifier(tmp_path / "a.npz")
    write_verifier(tmp_path / "b.npz", again)
    np.testing.assert_array_equal(again.score(left_pd, right_pd), verifier.score(left_pd, right_pd))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    return again

  return through
