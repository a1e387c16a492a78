"""The report: one self-contained file with the given figures and escaped text."""

import base64
import dataclasses
import functools
import io
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxface.evaluation import evaluate, make_toy
from jaxface.evaluation.config import VerificationConfig
from jaxface.evaluation.pairs.holdout import holdout_pairs
from jaxface.evaluation.pairs.verification import Verification, verify_pairs
from jaxface.evaluation.protocols.logged import logged_figures
from jaxface.evaluation.report.report import Report, flatten, write_report

EVIL = """<script>alert("1")</script> & 'x'"""
VOID = {"meta", "img", "br", "input"}


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
    if self.stack[-1:] not in (["style"], ["script"]):
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


@functools.cache
def demo_text() -> str:
  """The page of `demo()`, which several tests look at."""
  with tempfile.TemporaryDirectory() as folder:
    return written(Path(folder), demo())[0]


def written(tmp_path, report: Report) -> tuple[str, Page]:
  path = tmp_path / "report.html"
  write_report(path, report)
  text = path.read_text(encoding="utf-8")
  assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
  return text, Page(text)


def test_it_needs_nothing_else():
  text, page = demo_text(), Page(demo_text())
  assert not {"link", "iframe", "object"} & set(page.tags)
  assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "srcset"]
  assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
  assert page.tags.count("script") == 2 and [value for tag, name, value in page.attributes if (tag, name) == ("script", "type")] == ["application/json"]
  policy = next(value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "default-src" in value)
  assert policy.startswith("default-src 'none'") and "http" not in policy
  sources = [value for _, name, value in page.attributes if name == "src"]
  assert sources
  for source in sources:
    head, data = source.split(",")
    assert head == "data:image/jpeg;base64"
    Image.open(io.BytesIO(base64.b64decode(data))).load()
  style = text[text.index("<style>") : text.index("</style>")]
  assert "url(" not in style
  assert "@import" not in style


def test_it_says_the_figures_it_was_given():
  report, page = demo(), Page(demo_text())
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
  assert page.tags.count("svg") == 3 + 2 + 2 + 1
  for name, point in report.after.operating.items():
    assert f"at most 1 in {round(1 / float(name)):,} falsely accepted" in words
    assert f"{point.threshold:.3f}" in words
  assert words.index("Thresholds to ship") < words.index("Training images")
  assert "the vertical mark is the figure before training" in words


def test_every_axis_says_what_it_shows_and_its_unit():
  text, page = demo_text(), Page(demo_text())
  for label in (
    "training step (updates)", "cosine similarity (from −1 to 1)", "FAR (% of non-mated pairs accepted)",
    "TAR (% of mated pairs accepted)", "FRR (% of mated pairs rejected)", "% of each kind per",
  ):
    assert label in text, label
  titles = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
  assert len(titles) == page.tags.count("svg") and all(titles)


def test_the_read_out_without_scripts_has_the_rates_at_the_best_threshold():
  report, text = demo(), demo_text()
  after, shown = report.after, float(re.search(r"<output[^>]*>([^<]*)</output>", text)[1].replace("−", "-"))
  assert abs(shown - after.threshold_cosine) <= 0.0005
  point = after.at(shown)
  row = re.search(r'<tr><th scope="row">after training</th>(.*?)</tr>', text)[1]
  cells = re.findall(r"<td[^>]*>([^<]*)</td>", row)
  assert cells[:3] == [f"{100 * point.far:.2f}", f"{100 * point.tar:.2f}", f"{100 * (1 - point.tar):.2f}"]
  assert cells[3] == str(int(((after.score_p >= shown) & ~after.pairs.same).sum()))


def test_versions_are_a_table(tmp_path):
  _, page = written(tmp_path, demo(environment={"packages": {"jax": "0.10.2", "numpy": "2.4"}, "cores": 2}))
  words = " ".join("".join(page.words).split())
  assert "packages.jax" in words and "{'jax'" not in words


def test_every_picture_and_drawing_has_words_for_those_who_do_not_see_it():
  page = Page(demo_text())
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
  assert page.tags.count("svg") == 4
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
  text, page = written(tmp_path, report)
  assert page.tags.count("script") == 2 and text.count("<script>alert") == 0
  assert "".join(page.words).count("alert(") >= 7
  assert "alert" in next(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))


def test_the_same_report_is_the_same_file(tmp_path):
  assert written(tmp_path, demo())[0] == demo_text()


def test_flatten():
  rows = flatten({"a": {"b": 1, "c": VerificationConfig(name="x")}, "d": "", "e": {}})
  assert rows[:3] == [("a.b", "1"), ("a.c.name", "x"), ("a.c.images", "''")]
  assert rows[-2:] == [("d", "''"), ("e", "{}")]


@pytest.mark.parametrize("name", ["closed-set", "ijb-c-1n", "ijb-c", "rfw"])
def test_a_protocol_that_is_no_pair_list_has_its_figures_lines_and_notes(name, tmp_path, tmp_path_factory):
  toy = tmp_path_factory.mktemp("set") / "toy"
  lists = make_toy(name, toy)
  found = evaluate(toy / "embeddings.npz", lists, protocol=name)
  found = dataclasses.replace(found, notes=(*found.notes, EVIL))
  rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
  text, page = written(tmp_path, Report(EVIL, found, before=found, lead=EVIL, metrics=rows, command="jaxface train x"))
  words = " ".join(page.words)
  assert EVIL not in text and EVIL in words
  for key, value in logged_figures(found).items():
    assert key in words and f"{value:.5f}" in words
  assert ("Cumulative match characteristic (CMC)" in words) == bool(found.searches)
  assert "Loss" in words and "jaxface train x" in words
  if not found.searches:
    assert ("African" if name == "rfw" else found.lines[0]) in words  # groups are shown as a table
  assert "compared with" in words and "compared with" not in " ".join(written(tmp_path, Report("Bare", found))[1].words)
