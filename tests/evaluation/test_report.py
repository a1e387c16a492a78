"""The report: one self-contained file with the given figures and escaped text."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.report import charts
from jaxface.evaluation.report.report import Report, flatten, write_report

EVIL = """<script>alert("1")</script> & 'x'"""
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
  """Checks nesting, and collects tags, attributes and text."""

  def __init__(self, text: str):
    super().__init__()
    self.stack: list[str] = []
    self.tags: list[str] = []
    self.attributes: list[tuple[str, str, str | None]] = []
    self.words: list[str] = []
    self.feed(text)
    self.close()
    assert not self.stack

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [(tag, *pair) for pair in attrs]
    if tag not in VOID:
      self.stack.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)

  def handle_endtag(self, tag):
    assert self.stack.pop() == tag

  def handle_data(self, data):
    if self.stack[-1:] != ["style"]:
      self.words.append(data)


def jpeg(name: str) -> bytes:
  colour = np.frombuffer(name.encode().ljust(3)[-3:], np.uint8)
  stream = io.BytesIO()
  Image.fromarray(np.broadcast_to(colour, (8, 8, 3)).copy()).save(stream, "JPEG")
  return stream.getvalue()


def verified(noise: float, prefix: str = "id", folds: int = 5) -> Verification:
  rng = np.random.default_rng(0)
  label_n = np.repeat(np.arange(30), 4)
  names = [f"{prefix}{label}/{index}" for index, label in enumerate(label_n)]
  embedding_nd = rng.normal(size=(30, 16))[label_n] + noise * rng.normal(size=(120, 16))
  return verify_pairs(embedding_nd, names, holdout_pairs(names, label_n, pairs=200, folds=folds, seed=0))


def demo(**changes) -> Report:
  steps = range(10, 600, 10)
  rows = [
    {
      "step": step,
      "loss": 9 / step + 0.1 * (step % 3),
      "learning_rate": 0.1,
      "images_per_second": 180 + step % 7,
    }
    for step in steps
  ]
  whole = Report(
    "A demonstration",
    verified(1.2),
    verified(4.0),
    lead="Made-up figures.",
    command="jaxface train demo --seed 3",
    metrics=rows,
    config={"model": {"name": "iresnet18", "sizes": (1, 2)}, "verification": VerificationConfig()},
    environment={"jax": "0.10.2"},
    faces=[("one", jpeg("one")), ("two", jpeg("two"))],
    image_of=jpeg,
  )
  return dataclasses.replace(whole, **changes)


def written(tmp_path, report: Report) -> tuple[str, Page]:
  path = tmp_path / "report.html"
  write_report(path, report)
  text = path.read_text(encoding="utf-8")
  assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
  return text, Page(text)


def test_it_needs_nothing_else_and_runs_nothing(tmp_path):
  text, page = written(tmp_path, demo())
  assert not {"script", "link", "iframe", "object"} & set(page.tags)
  assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("href", "srcset")]
  sources = [value for _, name, value in page.attributes if name == "src"]
  assert sources
  for source in sources:
    head, data = source.split(",")
    assert head == "data:image/jpeg;base64"
    Image.open(io.BytesIO(base64.b64decode(data))).load()
  style = text[text.index("<style>") : text.index("</style>")]
  assert "url(" not in style
  assert "@import" not in style


def test_it_says_the_figures_it_was_given(tmp_path):
  report = demo()
  _, page = written(tmp_path, report)
  words = re.sub(r"\s+", " ", "".join(page.words))
  for one in (report.after, report.before):
    assert f"{one.auc:.5f}" in words
    assert f"{100 * one.accuracy:.2f} % ± {100 * one.accuracy_se:.2f}" in words
    assert f"{100 * one.eer:.2f} %" in words
    assert f"cosine {one.threshold_cosine:.3f} · L2² {one.threshold_l2_squared:.3f}" in words
  for sentence in (
    "Made-up figures.",
    "jaxface train demo --seed 3",
    "model.name",
    "'lfw'",
    "verification.mirror",
    "0.10.2",
  ):
    assert sentence.strip("'") in words
  assert page.tags.count("svg") == 3 + 2 + 2
  for name, point in report.after.operating.items():
    assert f"at most 1 in {round(1 / float(name)):,} falsely accepted" in words
    assert f"{point.threshold:.3f}" in words
  assert words.index("Thresholds to ship") < words.index("Training images")
  assert "the vertical mark is the figure before training" in words


def test_every_axis_says_what_it_shows(tmp_path):
  text, page = written(tmp_path, demo())
  assert text.count('<text class="name"') == 2 * page.tags.count("svg")


@pytest.mark.parametrize("noise", [1.2, 4.0])
def test_a_histogram_fills_its_own_scale(noise):
  drawn = charts.similarity(verified(noise), -1.0, 1.0)
  areas = re.findall(r'class="area [^"]*" d="([^"]+)"', drawn)
  assert len(areas) == 2
  highest = min(float(y) for path in areas for y in re.findall(r"V([\d.]+)", path))
  # 300 high with margins of 34 and 46: the tallest bin takes 1 / 1.12 of the 220 between.
  assert highest == pytest.approx(254 - 220 / 1.12, abs=0.2)


def test_versions_are_a_table(tmp_path):
  _, page = written(tmp_path, demo(environment={"packages": {"jax": "0.10.2", "numpy": "2.4"}, "cores": 2}))
  words = " ".join("".join(page.words).split())
  assert "packages.jax" in words and "{'jax'" not in words


def test_every_picture_and_drawing_has_words_for_those_who_do_not_see_it(tmp_path):
  _, page = written(tmp_path, demo())
  alt = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
  assert len(alt) == page.tags.count("img")
  assert all(alt)
  labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
  assert len(labels) == page.tags.count("svg")
  assert all(labels)
  assert ("html", "lang", "en") in page.attributes


def test_the_hardest_wrong_pairs_are_shown_with_both_images(tmp_path):
  report = demo(faces=(), after=verified(2.5))
  _, page = written(tmp_path, report)
  wrong = [*report.after.hardest(12, same=False), *report.after.hardest(12, same=True)]
  names = [name for pair in wrong for name in (report.after.pairs.left[pair], report.after.pairs.right[pair])]
  assert names
  assert [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")] == names


@pytest.mark.parametrize("image_of", [None, lambda name: None])
def test_without_images_places_stay_empty(tmp_path, image_of):
  text, page = written(tmp_path, demo(image_of=image_of, faces=()))
  assert "img" not in page.tags
  assert "no image" in text


def test_only_what_must_be_there(tmp_path):
  text, page = written(tmp_path, Report("Bare", verified(1.2, folds=1)))
  assert "before" not in "".join(page.words)
  assert page.tags.count("svg") == 3
  assert "How to reproduce this" not in text


def test_no_wrong_pairs(tmp_path):
  _, page = written(tmp_path, demo(after=verified(0.01)))
  assert "None: all 200 pairs are classified correctly." in "".join(page.words)


def test_everything_from_outside_is_escaped(tmp_path):
  report = demo(
    title=EVIL,
    lead=EVIL,
    command=EVIL,
    config={EVIL: EVIL},
    environment={EVIL: EVIL},
    faces=[(EVIL, jpeg("a"))],
    after=verified(2.5, prefix=EVIL.replace("/", "")),
    curves={"loss": EVIL},
  )
  _, page = written(tmp_path, report)
  assert "script" not in page.tags
  assert "".join(page.words).count("alert(") >= 7
  assert "alert" in next(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


def test_the_same_report_is_the_same_file(tmp_path):
  for name in ("a.html", "b.html"):
    write_report(tmp_path / name, demo())
  assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_flatten():
  rows = flatten({"a": {"b": 1, "c": VerificationConfig(name="x")}, "d": "", "e": {}})
  assert rows[:3] == [("a.b", "1"), ("a.c.name", "x"), ("a.c.images", "''")]
  assert rows[-2:] == [("d", "''"), ("e", "{}")]
