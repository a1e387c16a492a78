"""Random scored pairs of several tests."""

import numpy as np
from hypothesis import strategies as st

# Few distinct scores: ties within and across classes in nearly every example.
scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(
  lambda rows: len({same for _, same in rows}) == 2
)


def arrays(rows):
  """Scores and labels of `scored`."""
  return np.array([score / 4 for score, _ in rows]), np.array([same for _, same in rows])
