"""From photos of LFW to a page with pictures, with the imported network."""

import re

import numpy as np
import pytest

from jaxface.commands.main import main
from jaxface.evaluation import read_evaluation
from jaxface.formats import write_pairs
from jaxface.formats.pairs import Pairs, read_lfw_pairs


@pytest.mark.real_data
def test_lfw_photos_become_a_report_in_two_commands(face_data, pretrained_onnx, tmp_path):
  whole = read_lfw_pairs(face_data / "protocols" / "pairs.txt")
  # Of the first fold both kinds, and pairs with turned or covered faces, which this network rejects.
  hard = [pair for pair, name in enumerate(whole.left) if whole.same[pair] and name.startswith(("Cristina_Fernandez/", "Victoria_Beckham/"))]
  keep = np.array([*range(0, 600, 6), *hard])
  pairs = Pairs([whole.left[at] for at in keep], [whole.right[at] for at in keep], whole.same[keep], np.arange(len(keep)) % 5)
  write_pairs(tmp_path / "pairs.tsv", pairs)
  model, photos, saved = (str(one) for one in (tmp_path / "m", face_data / "lfw_aligned112", tmp_path / "lfw.npz"))
  assert main(["import", str(pretrained_onnx), "--model", "mobilefacenet", "--preprocess", "imagenet", "--out", model]) == 0
  faces = ["--pairs", str(tmp_path / "pairs.tsv"), "--model", model, "--images", photos, "--mirror", "none"]
  assert main(["evaluate", *faces, "--save", saved, "--json", str(tmp_path / "f.json")]) == 0
  found = read_evaluation(saved)
  assert found.verification.accuracy >= 0.93 and found.verification.auc >= 0.97 and found.meta["parameters"] == 999_936
  assert main(["report", saved, "--images", photos, "--out", str(tmp_path / "r.html")]) == 0
  page = (tmp_path / "r.html").read_text(encoding="utf-8")
  assert len(hard) >= 2 and found.verification.hardest(12, same=True)
  wrong = len(found.verification.hardest(12, same=True)) + len(found.verification.hardest(12, same=False))
  assert len(re.findall(r'<img alt="[^"]+" src="data:image/jpeg;base64,', page)) == 2 * wrong and "no image" not in page
  assert len(page) < 1_000_000
