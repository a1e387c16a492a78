"""Networks in words."""

import pytest

from jaxface.models import describe, list_models, measure_speed, save_model, summarise


def test_a_pattern_gives_a_table_a_name_its_layers_a_folder_its_card(random_model, tmp_path):
  titles, *rows = describe("sphereface*")
  assert "parameters" in titles and {row.split()[0] for row in rows} == set(list_models("sphereface*"))
  first, *layers = describe("smallresnet")
  summary = summarise("smallresnet")
  assert first.startswith("smallresnet: input ") and layers[-1].split()[:2] == ["total", f"{summary.parameters:,}"]
  save_model(tmp_path / "model", random_model("smallresnet", patch=2, widths=(4, 8), units=(1, 0), embedding_size=4))
  assert any("licence" in line for line in describe(tmp_path / "model"))


def test_an_unknown_name_lists_near_ones_at_once():
  with pytest.raises(ValueError, match="Did you mean 'sphereface"):
    describe("sphereface5")


def test_speed_is_measured_at_the_networks_own_size():
  speed = measure_speed("smallresnet", 10**12, seconds=0)
  assert (speed.batch, speed.dtype) == (4, "float32")
  assert 0 < speed.train < speed.forward
