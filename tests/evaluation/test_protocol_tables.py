"""Reports of MegaFace, groups and open-set searches have tables and charts with the figures of the evaluation; Holm's correction is named."""

import numpy as np
import pytest

from jaxface.evaluation import Study, evaluate, holm, make_toy, model_card, read_evaluation, write_study
from jaxface.formats import Embeddings, read_embeddings
from tests.evaluation.test_study import embeddings, pairs_of, text_of


def toy(protocol, folder, models=2):
  """Evaluations of the toy set, read from their files; the second model has noise."""
  lists = make_toy(protocol, folder / protocol)
  made = read_embeddings(folder / protocol / "embeddings.npz")
  found = []
  for number in range(models):
    noise_nd = 2 * number * np.random.default_rng(number).normal(size=made.embedding_nd.shape)
    file = folder / f"{protocol}{number}.npz"
    evaluate(Embeddings((made.embedding_nd + noise_nd).astype(np.float32), made.names), lists, protocol=protocol, save=file)
    found.append((f"model {number}", read_evaluation(file)))
  return found


def test_megaface_has_tables_and_a_chart_over_distractors(tmp_path):
  found = toy("megaface-facescrub", tmp_path)
  write_study(tmp_path / "r.html", Study("", found))
  page = text_of(tmp_path / "r.html")
  for name, one in found:
    for size, ranks in one.figures["distractors"].items():
      low, high = ranks["rank-1_95"]
      assert f"{name} {int(size):,} {100 * ranks['rank-1']:.2f}\xa0% {100 * low:.2f} to {100 * high:.2f}".replace("\xa0", " ") in page
    for value in one.figures["tar_at_far"].values():
      assert f"{100 * value:.2f}" in page
  html = (tmp_path / "r.html").read_text()
  assert "Rank 1 over the number of distractors" in html and "<svg" in html and "Other figures" not in html


def test_groups_have_a_table(tmp_path):
  found = toy("rfw", tmp_path)
  write_study(tmp_path / "r.html", Study("", found))
  page = text_of(tmp_path / "r.html")
  for name, one in found:
    for group, figures in one.figures["groups"].items():
      low, high = figures["accuracy_interval"]
      assert f"{name} {group} {figures['pairs']} {100 * figures['accuracy']:.2f} % {100 * low:.2f} to {100 * high:.2f}" in page
    low, high = one.figures["accuracy_mean_95"]
    spread, ratio = one.figures["accuracy_std_95"], one.figures["skewed_error_ratio_95"]
    assert f"{100 * one.figures['accuracy_mean']:.2f} % {100 * low:.2f} to {100 * high:.2f}" in page
    assert f"{100 * spread[0]:.2f} to {100 * spread[1]:.2f}" in page and f"{ratio[0]:.2f} to {ratio[1]:.2f}" in page
  assert "Largest error / smallest" in page and "Other figures" not in page


def test_an_open_set_search_has_a_curve(tmp_path):
  [one] = toy("ijb-b-1n", tmp_path, models=1)
  write_study(tmp_path / "r.html", Study("", [one]))
  assert "TPIR over FPIR" in (tmp_path / "r.html").read_text()
  [closed] = toy("closed-set", tmp_path, models=1)
  write_study(tmp_path / "c.html", Study("", [closed]))
  assert "TPIR over FPIR" not in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize("models", [2, 3])
def test_p_is_corrected_for_more_than_two_models(tmp_path, models):
  study = Study("", [(f"m{at}", evaluate(embeddings(noise), pairs_of(3))) for at, noise in enumerate((0.6, 1.1, 1.4)[:models])])
  rows = study.figures["comparisons"]
  write_study(tmp_path / "r.html", study)
  page, card = text_of(tmp_path / "r.html"), model_card(study)
  if models == 2:
    assert not any("p_holm" in row for row in rows) and "Holm" not in page
    return
  for figure in {row["figure"] for row in rows}:
    of_figure = [row for row in rows if row["figure"] == figure]
    assert len(of_figure) == 3 and [row["p_holm"] for row in of_figure] == holm([row["p"] for row in of_figure]).tolist()
  assert "Holm's correction" in page and f"Holm {rows[0]['p_holm']:.3g}" in page and f"{rows[0]['p_holm']:.3g} |" in card
