"""Triplets by three loops, from the definitions alone, and the batches that the tests draw."""

import numpy as np

B, D = 12, 4
MARGIN = 0.5


def draw(seed=0, identities=3, size=B):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(size, D)), rng.integers(0, identities, size).astype(np.int32)


def loops(mining, distance, label, weight, reach="inside", margin=1.0):
  """The set of (a, p, n); among equal distances the first."""
  rows = [i for i in range(len(label)) if weight[i] > 0]
  found = set()
  for a in rows:
    positives = [p for p in rows if p != a and label[p] == label[a]]
    negatives = [n for n in rows if label[n] != label[a]]
    if not positives or not negatives:
      continue
    d = distance[a]
    nearest = min(negatives, key=lambda n: (d[n], n))
    if mining == "all":
      found |= {(a, p, n) for p in positives for n in negatives}
    elif mining == "hard":
      found.add((a, min(positives, key=lambda p: (-d[p], p)), nearest))
    elif mining == "easy":
      found.add((a, min(positives, key=lambda p: (d[p], p)), nearest))
    else:
      for p in positives:
        beyond = [n for n in negatives if d[n] > d[p]]
        if reach == "inside":
          beyond = [n for n in beyond if d[n] < d[p] + margin]
        if beyond:
          found.add((a, p, min(beyond, key=lambda n: (d[n], n))))
        elif reach == "farthest":
          found.add((a, p, min(negatives, key=lambda n: (-d[n], n))))
  return found


def squared(x):
  unit = [row / np.sqrt(sum(v * v for v in row)) if np.any(row) else row for row in x]
  return np.array([[sum((a - b) ** 2) for b in unit] for a in unit])


def by_loops(x, label, weight, mining, reach, form, average):
  d = squared(x)
  costs = []
  for a, p, n in loops(mining, d, label, weight, reach, MARGIN):
    v = d[a, p] - d[a, n] + MARGIN
    cost = max(0.0, v) if form == "margin" else np.log1p(np.exp(v))
    if average == "all" or cost > 0:
      costs.append(cost)
  return np.mean(costs) if costs else 0.0
