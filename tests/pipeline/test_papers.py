"""The figures of papers beside ours: result files, the table, and the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from jaxface.commands.main import main
from jaxface.formats.errors import DamagedData
from jaxface.pipeline.papers.keep import keep_results
from jaxface.pipeline.papers.result_file import Measured, main_figures
from jaxface.pipeline.papers.table import (
  MISSING,
  Figure,
  Paper,
  as_markdown,
  as_text,
  paper_rows,
  read_papers,
  read_results,
)

FOUND = {"accuracy": 0.7387, "accuracy_se": 0.0058, "auc": 0.813, "pairs": 6000}
RESULT = Measured(
  "small", "jaxface train deepface --small", {"lfw": FOUND}, {"images": 6365, "identities": 366},
  {"name": "deepface", "parameters": 2_077_728, "input": [96, 96, 3], "embedding": 512}, 420.0, "2 cores of a machine", "0.1.0",
)
PAPER = Paper("one", "One", "Somebody, 2014", "4 images", "a network", (
  Figure("LFW, cosine", "table 1", 95.92, 0.29, True, "small/lfw"),
  Figure("LFW, ensemble", "table 1", 97.15, None, False, "later/lfw"),
  Figure("YTF", "table 2", 91.4, missing="no videos"),
))


def test_a_result_is_read_as_it_was_written(tmp_path):
  RESULT.write(tmp_path / "small.json")
  assert Measured.read(tmp_path / "small.json") == RESULT
  RESULT.write(tmp_path / "again.json")
  assert (tmp_path / "again.json").read_bytes() == (tmp_path / "small.json").read_bytes()


def test_an_edited_result_is_an_error(tmp_path):
  file = tmp_path / "small.json"
  RESULT.write(file)
  file.write_text(file.read_text().replace("0.7387", "0.9999"))
  with pytest.raises(DamagedData, match=r"small\.json.*edited or damaged"):
    read_results(tmp_path)


@pytest.mark.parametrize("figure", [{"accuracy": 73.87}, {"auc": 0.8}, 3])
def test_a_figure_that_is_no_share_is_an_error(figure, tmp_path):
  replace(RESULT, figures={"lfw": figure}).write(tmp_path / "small.json")
  with pytest.raises(DamagedData, match="not complete"):
    Measured.read(tmp_path / "small.json")


def test_another_file_and_a_second_of_one_name_are_errors(tmp_path):
  (tmp_path / "other.json").write_text('{"a": 1}')
  with pytest.raises(DamagedData, match="not a file of measured figures"):
    Measured.read(tmp_path / "other.json")
  (tmp_path / "other.json").unlink()
  RESULT.write(tmp_path / "a.json")
  RESULT.write(tmp_path / "b.json")
  with pytest.raises(DamagedData, match="second file of the name 'small'"):
    read_results(tmp_path)
  with pytest.raises(FileNotFoundError, match="no such folder"):
    read_results(tmp_path / "none")


def test_the_table_has_both_figures_and_says_what_is_not_reproduced():
  table = list(paper_rows([PAPER], {"small": RESULT}))
  assert [row.theirs for row in table] == ["95.92 ± 0.29", "97.15 *", "91.40"]
  assert [row.ours for row in table] == ["73.87 ± 0.58 (AUC 0.8130)", MISSING, f"{MISSING}: no videos"]
  assert [row.size for row in table] == ["6,365 images of 366 identities; deepface, 2.08 M parameters, 96×96×3", "", ""]
  text, page = as_text(table), as_markdown(table)
  for part in ("73.87 ± 0.58", "95.92 ± 0.29", "jaxface train deepface --small", "6,365 images", "no videos"):
    assert part in text and part in page
  assert len([line for line in page.splitlines() if line.startswith("|")]) == 2 + 3


def test_a_figure_that_a_result_lacks_is_not_reproduced():
  table = list(paper_rows([PAPER], {"small": replace(RESULT, figures={"cfp": FOUND})}))
  assert [row.ours for row in table][:2] == [MISSING, MISSING] and not any(row.measured for row in table)


def test_all_figures_of_a_result_that_a_paper_names_are_shown():
  more = replace(RESULT, figures={"lfw": FOUND, "joint-bayesian, 8 patches": {**FOUND, "accuracy": 0.84}})
  table = list(paper_rows([replace(PAPER, results=("small", "absent"))], {"small": more}))
  assert len(table) == len(PAPER.figures) + 1
  assert (table[-1].figure.what, table[-1].theirs) == ("LFW, joint-bayesian, 8 patches", "–") and table[-1].ours.startswith("84.00 ± 0.58")


def test_figures_without_pairs_of_both_kinds_are_an_error():
  with pytest.raises(ValueError, match="no accuracy"):
    main_figures({"pairs": 3, "cosine_min": 0.1})
  assert main_figures({**FOUND, "folds": []}) == FOUND


def test_the_papers_that_come_with_jaxface_agree_with_their_results():
  papers, results = read_papers(), read_results()
  table = list(paper_rows(papers, results))
  assert len({paper.name for paper in papers}) == len(papers) == 10
  for row in table:
    assert row.figure.where and (row.figure.value is None or 50 < row.figure.value <= 100)
    assert row.figure.value is not None or row.figure.ours
  # Every figure of a result is shown somewhere.
  measured = {f"{name}/{figure}" for name, one in results.items() for figure in one.figures}
  assert measured <= {row.figure.ours for row in table if row.found}


def test_every_figure_of_ours_is_one_that_the_runs_write():
  papers, results = read_papers(), read_results()
  runs = (Path(__file__).parents[2] / "Makefile").read_text().split("PAPER_RUNS :=")[1].split("\npapers:")[0]
  written = {name.rpartition("/")[2].removesuffix(".json") for name in re.findall(r"[\w./-]+", runs.replace(",", " "))}
  for paper in papers:
    for name in {figure.ours.partition("/")[0] for figure in paper.figures if figure.ours} | set(paper.results):
      assert name in written, f"{paper.name}: no run of `make papers` writes {name!r}"
    # A figure whose run was kept must be in it.
    for figure in paper.figures:
      name, _, key = figure.ours.partition("/")
      assert name not in results or key in results[name].figures, f"{paper.name}: {name!r} has no figure {key!r}"


def test_deepid_without_a_verifier_is_that_of_its_system():
  [row] = [row for row in paper_rows(read_papers(), read_results()) if row.paper.name == "deepid" and row.figure.what == "LFW, cosine, without a verifier"]
  assert row.ours != MISSING and row.found == row.measured.figures["cosine, 16 patches"]


def test_the_command_keeps_and_prints(tmp_path, capsys):
  RESULT.write(tmp_path / "made.json")
  named = replace(RESULT, name="deepface_small")
  named.write(tmp_path / "other.json")
  assert keep_results([tmp_path / "made.json"], tmp_path / "kept") == [tmp_path / "kept" / "small.json"]
  assert main(["papers", "--keep", str(tmp_path / "other.json"), "--results", str(tmp_path / "kept")]) == 0
  assert json.loads((tmp_path / "kept" / "deepface_small.json").read_text())["figures"]["lfw"] == FOUND
  capsys.readouterr()
  assert main(["papers", "deepface", "--table", "--results", str(tmp_path / "kept")]) == 0
  text = capsys.readouterr().out
  assert "73.87 ± 0.58" in text and "97.35 ± 0.25" in text and "VGG-Face" not in text
  assert main(["papers"]) == 0
  assert "vggface" in capsys.readouterr().out
