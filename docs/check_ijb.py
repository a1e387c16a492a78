"""Evaluates a toy set in the shape of IJB-C, and compares it with a plain NumPy script that follows the published evaluation.

  python docs/check_ijb.py

The published script pools faces with a loop over templates and media, scores pairs by batches, and reads TAR from scikit-learn's ROC; the ROC here
is a plain sort, and TAR is taken strictly (the FAR is at most the target).
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxface.evaluation import evaluate
from jaxface.formats import Embeddings

SUBJECTS, DIM = 800, 512


def make(folder, templates, pairs, rng):
  """Lists, and embeddings of the faces."""
  faces, owner = [], []
  for template in range(templates):
    for medium in range(int(rng.integers(1, 5))):
      for _ in range(int(rng.integers(1, 5))):
        faces.append(f"{len(faces) + 1}.jpg {template} {10 * template + medium}")
        owner.append(template % SUBJECTS)
  (folder / "ijbc_face_tid_mid.txt").write_text("\n".join(faces) + "\n")
  left_p, right_p = rng.integers(0, templates, (2, pairs))
  right_p = np.where(right_p == left_p, (right_p + 1) % templates, right_p)
  label_p = (left_p % SUBJECTS == right_p % SUBJECTS).astype(int)
  with open(folder / "ijbc_template_pair_label.txt", "w") as file:
    file.writelines(f"{a} {b} {same}\n" for a, b, same in zip(left_p.tolist(), right_p.tolist(), label_p.tolist()))
  person_sd = rng.normal(size=(SUBJECTS, DIM))
  embedding_nd = (person_sd[owner] + 3.5 * rng.normal(size=(len(owner), DIM))).astype(np.float32)
  return Embeddings(embedding_nd, [line.split()[0] for line in faces])


def plain(folder, embeddings):
  """TAR at each FAR, as a plain script."""
  tid, mid = np.loadtxt(folder / "ijbc_face_tid_mid.txt", dtype=int, usecols=(1, 2)).T
  left_p, right_p, label_p = np.loadtxt(folder / "ijbc_template_pair_label.txt", dtype=int).T
  template_td = []
  for template in np.unique(tid):
    here = np.flatnonzero(tid == template)
    media = [embeddings.embedding_nd[here[mid[here] == medium]].astype(np.float64).mean(0) for medium in np.unique(mid[here])]
    template_td.append(np.sum(media, 0) / np.linalg.norm(np.sum(media, 0)))
  template_td = np.array(template_td)
  score_p = np.concatenate([
    (template_td[left_p[at : at + 100_000]] * template_td[right_p[at : at + 100_000]]).sum(1) for at in range(0, len(left_p), 100_000)
  ])
  false_n, true_n = np.sort(score_p[label_p == 0])[::-1], np.sort(score_p[label_p == 1])
  tar = {}
  for power in range(-6, 0):
    limit = false_n[int(10.0**power * len(false_n) + 1e-9)]
    tar[f"1e{power}"] = (len(true_n) - int(np.searchsorted(true_n, limit, side="right"))) / len(true_n)
  return tar


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--templates", type=int, default=3_500)
  parser.add_argument("--pairs", type=int, default=15_000_000)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    embeddings = make(folder, options.templates, options.pairs, np.random.default_rng(0))
    start = time.perf_counter()
    found = evaluate(embeddings, folder, protocol="ijb-c").figures
    ours, start = time.perf_counter() - start, time.perf_counter()
    right = plain(folder, embeddings)
    theirs = time.perf_counter() - start
  print("| FAR | TAR | plain script |\n|---|---|---|")
  for far, tar in right.items():
    print(f"| {far} | {100 * found['tar_at_far'][far]:.4f} % | {100 * tar:.4f} % |")
  print(f"\n{found['pairs']:,} pairs, {found['mated']:,} mated: {ours:.1f} s, with reading the lists; the plain script takes {theirs:.1f} s.")
  # The two sum in another order: a score may differ by the last digit, which moves at most one mated pair across a threshold.
  return int(any(abs(found["tar_at_far"][far] - tar) > 1 / found["mated"] for far, tar in right.items()))


if __name__ == "__main__":
  sys.exit(main())
