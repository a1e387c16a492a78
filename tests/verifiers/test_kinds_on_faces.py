"""The learnt verifiers on grey pixels of real faces, for people that they never saw."""

import itertools

import numpy as np
import pytest

from jaxface.evaluation import auc, roc
from jaxface.formats.images import decode_image
from jaxface.verifiers import L2, ChiSquare, Fusion, JointBayesian, RowPairs, Siamese


@pytest.mark.real_data
def test_what_they_learn_from_pixels_holds_for_other_people(face_data):
  folders = sorted((face_data / "orl_faces").glob("s*"), key=lambda folder: int(folder.name[1:]))
  pixel_nd = np.array([decode_image(file.read_bytes(), where=file.name)[::8, ::8, 0].reshape(-1) for folder in folders for file in sorted(folder.glob("*.pgm"))])
  pixel_nd, person_n = pixel_nd / 255.0, np.repeat(np.arange(len(folders)), 10)
  train, more, held = person_n < 16, (person_n >= 16) & (person_n < 28), person_n >= 28
  left_p, right_p = np.array(list(itertools.combinations(np.flatnonzero(held), 2))).T
  pairs = RowPairs(left_p, right_p, person_n[left_p] == person_n[right_p])

  def figure(verifier):
    return auc(roc(verifier.score(pixel_nd[pairs.left_p], pixel_nd[pairs.right_p]), pairs.same_p))

  given = pixel_nd[train], person_n[train]
  found = {
    "l2": L2.fit(pixel_nd[train], unit=True), "chi-square": ChiSquare.fit(*given), "equal": ChiSquare.fit(*given, weights="equal"), "siamese": Siamese.fit(*given),
    "joint-bayesian": JointBayesian.fit(*given, components=40),
  }
  found["fusion"] = Fusion.fit(pixel_nd[more], person_n[more], parts=[found["chi-square"], found["siamese"], found["joint-bayesian"]])
  reached = {name: figure(verifier) for name, verifier in found.items()}
  assert reached["chi-square"] > reached["equal"] and reached["siamese"] > reached["l2"]
  assert reached["fusion"] > max(reached["chi-square"], reached["siamese"])
  assert min(reached.values()) > 0.85
