"""`jaxface models`: the table, and one network's layers."""

import pytest

from jaxface.commands.main import main
from jaxface.models.overview import rounded
from jaxface.models.registry import list_models
from jaxface.models.summary import published


def test_the_table_has_our_figures_beside_the_papers(capsys):
  assert main(["models", "mobile*t"]) == 0
  titles, row = capsys.readouterr().out.splitlines()
  assert "paper:" in titles
  assert " ".join(row.split()) == "mobilefacenet 112×112×3 rgb unit 128 1,003,136 221.0 M 990.0 K – 99.55"


def test_a_name_gives_its_layers_and_their_sums(capsys):
  assert main(["models", "sphereface4"]) == 0
  out = capsys.readouterr().out
  layers = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
  assert "112x96 pixels, bgr" in out
  convs = [(56 * 48, 3, 64), (28 * 24, 64, 128), (14 * 12, 128, 256), (7 * 6, 256, 512)]
  products = [positions * 9 * before * after for positions, before, after in convs]
  biases = [positions * after for positions, _, after in convs]
  assert layers["conv2_1/conv"] == [
    "Conv", "56×48×64", "28×24×128", f"{9 * 64 * 128 + 128:,}", f"{products[1]:,}", f"{products[1] + biases[1]:,}",
  ]
  dense = 7 * 6 * 512 * 512
  assert layers["total"] == [f"{12_562_496:,}", f"{sum(products) + dense:,}", f"{sum(products) + sum(biases) + dense + 512:,}"]


def test_papers_figures_belong_to_networks_that_there_are():
  found = published()
  assert set(found) <= set(list_models())
  assert {"mobilefacenet", "lightcnn9", "vggface_d"} <= set(found)
  assert all(paper.paper for paper in found.values())


@pytest.mark.parametrize(("number", "text"), [(4_300, "4.300 K"), (1.603e9, "1.603 G"), (285e6, "285.0 M"), (12, "12")])
def test_counts_are_rounded_to_four_digits(number, text):
  assert rounded(number) == text
