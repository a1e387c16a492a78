"""Triplets by three loops, from the definitions alone."""


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
