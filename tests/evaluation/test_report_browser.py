"""The report in a real browser: no errors, no requests, nothing wider than a phone, and a read-out that moves and is exact."""

from dataclasses import replace

import numpy as np
import pytest
from browser import Browser, find_browser

from jaxface.evaluation import Study, evaluate, write_study
from jaxface.evaluation.report.readout import cells_of, counts_at, grid_of
from jaxface.formats import Embeddings, Pairs
from jaxface.formats.images import encode_jpeg

ROW = "[...document.querySelectorAll('.readout tbody tr')].map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))"
SHOWN = "document.querySelector('output').textContent"


def evaluations():
  """Two models on one list of 40 people."""
  rng = np.random.default_rng(0)
  names = [f"p{person:02d}_with_a_long_name_of_one_word/{image}" for person in range(40) for image in range(4)]
  left = [f"p{pair % 40:02d}_with_a_long_name_of_one_word/0" for pair in range(400)]
  right = [f"p{(pair + (pair % 2) * (1 + pair // 80)) % 40:02d}_with_a_long_name_of_one_word/{1 + pair // 140}" for pair in range(400)]
  pairs = Pairs(left, right, np.arange(400) % 2 == 0, np.arange(400) // 2 % 5)
  center_nd = np.repeat(rng.normal(size=(40, 16)), 4, axis=0)
  return [
    (name, evaluate(Embeddings((center_nd + noise * rng.normal(size=center_nd.shape)).astype(np.float32), names), pairs))
    for name, noise in (("A model with a rather long name of its own", 0.9), ("B", 1.2))
  ]


@pytest.fixture(scope="module")
def found():
  return evaluations()


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
  path = find_browser()
  if path is None:
    pytest.skip("BROWSER ABSENT: no Chromium on the PATH, in JAXFACE_CHROMIUM or of Playwright: the report was not tried in a browser")
  sweep = {
    "kind": "sweep", "axis": "jpeg", "what": "JPEG quality (0 to 100)",
    "rows": [{"value": value, "accuracy": 0.9, "accuracy_95": [0.8, 0.95]} for value in (10, 50)],
  }
  slices = {"kind": "slices", "column": "sex", "groups": [{"group": name, "pairs": 9, "accuracy": 0.9} for name in "fm"]}
  folder = tmp_path_factory.mktemp("browser")
  long = "a/path/of/one/word" * 8
  found = [(name, replace(one, notes=(long,))) for name, one in found]
  picture = encode_jpeg(np.zeros((8, 8, 3), np.uint8))
  study = Study(f"A study of {long}", found, [sweep], [slices], image_of=lambda name: picture, command="jaxface report " + 60 * "a-long-name.npz ")
  write_study(folder / "report.html", study)
  browser = Browser(path, folder / "profile")
  browser.view(1200, 900)
  browser.open(folder / "report.html")
  yield browser
  browser.close()


def expected(found, threshold: float) -> list[list[str]]:
  rows = []
  for _, one in found:
    what = one.verification
    false, true = (int((what.score_p[kind] >= threshold).sum()) for kind in (~what.pairs.same, what.pairs.same))
    rows.append(cells_of(false, true, what.roc.nonmated, what.roc.mated))
  return rows


def test_nothing_is_requested_and_nothing_fails(page):
  assert page.faults == []
  assert [url for url in page.requests if not url.startswith(("file://", "data:"))] == [] and len(page.requests) >= 1
  assert len([url for url in page.requests if url.startswith("file://")]) == 1


@pytest.mark.parametrize("width", [390, 768, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(page, width, dark):
  page.view(width, 844, dark=dark)
  assert page.run("innerWidth") == width
  assert page.run("document.documentElement.scrollWidth") == page.run("document.documentElement.clientWidth") >= width - 20  # a scroll bar


def test_colours_follow_the_scheme_and_text_is_readable(page):
  contrast = """(() => {
    const light = (colour) => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const back = light(getComputedStyle(document.querySelector('.card')).backgroundColor);
    const found = [...document.querySelectorAll('.card td, .card th, .soft, .chart text')].map((one) => {
      const style = getComputedStyle(one), fore = light(one.closest('svg') ? style.fill : style.color);
      return (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05); });
    return [back, Math.min(...found)]; })()"""
  for dark in (False, True):
    page.view(1200, 900, dark=dark)
    back, least = page.run(contrast)
    assert (back < 0.1) == dark and least >= 4.5  # WCAG AA


def test_the_slider_moves_the_read_out_by_keyboard(page, found):
  page.view(1200, 900)
  before = page.run(SHOWN)
  page.run("document.querySelector('input[type=range]').focus()")
  for _ in range(3):
    page.key("ArrowRight")
  after = page.run(SHOWN)
  assert float(after) == pytest.approx(float(before) + 0.003)
  assert page.run(ROW) == expected(found, float(after))


def test_every_value_of_the_slider_shows_the_exact_counts(page, found):
  threshold_t = grid_of([one.verification for _, one in found])
  for at in np.linspace(0, len(threshold_t) - 1, 12).astype(int):
    threshold = float(threshold_t[at])
    page.run(f"(() => {{ const one = document.querySelector('input[type=range]'); one.value = {threshold}; one.dispatchEvent(new Event('input')); }})()")
    assert float(page.run(SHOWN).replace("−", "-")) == pytest.approx(threshold, abs=1e-9)
    assert page.run(ROW) == expected(found, threshold)


@pytest.mark.parametrize("chart", ["threshold", "far tar", "far frr"])
def test_the_pointer_on_a_chart_moves_the_read_out(page, found, chart):
  shown = []
  for share in (0.3, 0.6):
    page.run(f"document.querySelector('svg[data-link=\"{chart}\"]').scrollIntoView({{block: 'center'}})")
    left, top, width, height = page.run(
      f"(() => {{ const b = document.querySelector('svg[data-link=\"{chart}\"]').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }})()"
    )
    page.pointer(left + share * width, top + (1 - share if chart == "far frr" else 0.4) * height)
    value = float(page.run(SHOWN).replace("−", "-"))
    assert page.run(ROW) == expected(found, value)
    shown.append(value)
  assert shown[0] != shown[1]
  if chart == "threshold":  # the value below the pointer
    low, high, *_ = page.run(f"document.querySelector('svg[data-link=\"{chart}\"]').dataset.limits.split(' ').map(Number)")
    start, end, *_ = page.run(f"document.querySelector('svg[data-link=\"{chart}\"]').dataset.frame.split(' ').map(Number)")
    at = 0.6 * page.run(f"document.querySelector('svg[data-link=\"{chart}\"]').viewBox.baseVal.width")
    assert shown[1] == pytest.approx(low + (at - start) / (end - start) * (high - low), abs=0.002)


def test_the_marks_lie_on_the_curves(page):
  places = page.run("""[...document.querySelectorAll("svg[data-link^='far']")].map(svg => [svg.dataset.frame.split(' ').map(Number),
    [...svg.querySelectorAll('circle.cursor')].map(one => [Number(one.getAttribute('cx')), Number(one.getAttribute('cy'))])])""")
  assert len(places) == 3
  for (left, right, top, bottom), marks in places:
    assert len(marks) == 2 and all(left - 0.01 <= x <= right + 0.01 and top - 0.01 <= y <= bottom + 0.01 for x, y in marks)


def test_it_prints_with_the_table_and_without_the_slider(page):
  page.view(1200, 900, media="print")
  assert page.run("getComputedStyle(document.querySelector('input[type=range]')).display") == "none"
  assert page.run("getComputedStyle(document.querySelector('.readout table')).display") == "table"
  printed = page.pdf()
  assert printed.startswith(b"%PDF") and len(printed) > 20_000
  page.view(1200, 900)


def test_counts_by_hand(found):
  what = found[0][1].verification
  false_t, true_t = counts_at(what, np.array([-2.0, 2.0, float(what.score_p[0])]))
  assert (false_t[0], true_t[0], false_t[1], true_t[1]) == (what.roc.nonmated, what.roc.mated, 0, 0)
  assert true_t[2] == (what.score_p[what.pairs.same] >= what.score_p[0]).sum()
  assert cells_of(3, 2999, 3000, 3000) == ["0.10", "99.97", "0.03", "3", "1", "99.93"]
