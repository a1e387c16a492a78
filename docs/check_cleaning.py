"""What cleaning finds: swapped labels, planted near-duplicates, the table of stages on mixed photos, and 100,000 images.

Commands, with the figures in docs/cleaning.md:
  JAXFACE_DATA=FOLDER python docs/check_cleaning.py labels --embeddings CELEBA.npz       # of `jaxface embed`, see docs/cleaning.md
  JAXFACE_DATA=FOLDER python docs/check_cleaning.py duplicates
  JAXFACE_DATA=FOLDER python docs/check_cleaning.py stages --model models/mobilefacenet --work FOLDER
  python docs/check_cleaning.py speed --work FOLDER --images 100000
"""

import argparse
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cleaning_swaps import fold_of, swapped_labels, write_list
from PIL import Image

from jaxface.formats.images import decode_image, encode_jpeg
from jaxface.formats.sources import read_source
from jaxface.pipeline.cleaning.duplicates import clean_duplicates
from jaxface.pipeline.cleaning.labels import clean_noise
from jaxface.pipeline.cleaning.listing import clean_list
from jaxface.pipeline.cleaning.near_pairs import near_hashes_of_one_set, near_vectors
from jaxface.pipeline.cleaning.people import clean_people
from jaxface.pipeline.cleaning.ranking import clean_rank, rank_scores

FOUND = 0.9  # precision at which the share of found labels is reported


def data() -> Path:
  """The folder with the data sets."""
  return Path(os.environ["JAXFACE_DATA"])


def labels(options: argparse.Namespace) -> None:
  """Swaps 3 % of the labels and lets `clean noise` look for them."""
  faces, work = data() / "celeba_aligned112", Path(options.work)
  source = read_source(faces)
  paths, truth = [image.path for image in source.images], [image.identity for image in source.images]
  # What the tool doubts with the labels as they are: natural errors, and hard images.
  natural: set[str] = set()
  if len(options.embeddings) == 1:
    plain = clean_noise(faces, embeddings=options.embeddings, work=work / "labels_as_they_are", say=print)
    natural = {one.path for one in plain.accepted}
    print(f"labels as they are: {len(natural)} of {len(paths):,} doubted")
  for seed, least in ((0, 3), (1, 3), (0, 2)):
    dirty, swapped = swapped_labels(truth, least=least, seed=seed)
    write_list(work / "dirty.txt", list(zip(paths, dirty)))
    folds = None
    if len(options.embeddings) > 1:
      if seed:
        continue  # the networks were trained on the labels of seed 0
      folds = work / "folds.txt"
      write_list(folds, [(path, str(fold)) for path, fold in zip(paths, fold_of(len(paths)))])
    result = clean_noise(
      faces, embeddings=options.embeddings, folds=folds, list_file=work / "dirty.txt", work=work / f"labels_{seed}_{least}", say=print
    )
    wrong = {paths[row] for row in swapped}
    hit = np.array([one.path in wrong for one in result.proposals])
    precision, recall = hit.cumsum() / np.arange(1, len(hit) + 1), hit.cumsum() / len(wrong)
    best = recall[precision >= FOUND].max(initial=0)
    count = len(result.accepted)
    print(
      f"swapped among people of {least} images or more, seed {seed}: {len(wrong)} of {len(paths):,} labels; at probability 0.5 {count} proposed,"
      f" {hit[:count].sum()} of them swapped: precision {hit[:count].mean():.3f}, found {hit[:count].sum() / len(wrong):.3f};"
      f" found at {FOUND:.0%} precision: {best:.3f}"
    )
    new = np.array([one.path not in natural or one.path in wrong for one in result.proposals])
    hit = hit[new]
    precision, recall = hit.cumsum() / np.arange(1, len(hit) + 1), hit.cumsum() / len(wrong)
    count = int(new[:count].sum())
    print(
      f"  without those that it doubts before swapping: precision {hit[:count].mean():.3f} at probability 0.5; found at precision "
      + ", ".join(f"{bound}: {recall[precision >= bound].max(initial=0):.3f}" for bound in (0.9, 0.95, 0.97, 0.99))
    )


CHANGES = ("recoloured", "rescaled", "recompressed", "mirrored", "all four")


def changed(image_hwc: np.ndarray, how: str, generator: np.random.Generator) -> np.ndarray:
  """A near-duplicate of an image."""
  every = how == "all four"
  if how == "recoloured" or every:
    image_hwc = np.clip(image_hwc * generator.uniform(0.75, 1.25, 3) + generator.uniform(-15, 15), 0, 255).astype(np.uint8)
  if how == "rescaled" or every:
    side = int(generator.integers(56, 100))
    image_hwc = np.asarray(Image.fromarray(image_hwc).resize((side, side), Image.Resampling.BICUBIC))
  if how == "mirrored" or every:
    image_hwc = np.ascontiguousarray(image_hwc[:, ::-1])
  if how == "recompressed" or every:
    image_hwc = decode_image(encode_jpeg(image_hwc, quality=int(generator.integers(25, 60))), where="copy")
  return image_hwc


def duplicates(options: argparse.Namespace) -> None:
  """Plants changed copies of 250 of 1,000 different photos, each under five changes, and counts groups."""
  work, generator = Path(options.work) / "duplicates", np.random.default_rng(0)
  source = read_source(data() / "celeba_aligned112")
  picked = [source.images[row] for row in np.sort(generator.choice(len(source.images), 1000, replace=False))]
  faces = work / "faces"
  planted: dict[str, tuple[str, str]] = {}
  for number, image in enumerate(picked):
    target = faces / image.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((source.root / image.path).read_bytes())
    if number % 4 == 0:
      for how in CHANGES:
        copy = f"{image.path.rsplit('/', 1)[0]}/{number}_{how.replace(' ', '_')}.jpg"
        (faces / copy).write_bytes(encode_jpeg(changed(decode_image(target.read_bytes(), where=image.path), how, generator)))
        planted[copy] = (image.path, how)
  start = time.perf_counter()
  result = clean_duplicates(faces, work=work / "work", say=print)
  print(f"{result.summary()}; {time.perf_counter() - start:.0f} s")
  stay, group = result.extra["stay"], {}
  for path in [image.path for image in picked] + list(planted):
    group[path] = stay.get(path, path)
  root = {path: planted[path][0] if path in planted else path for path in group}
  # Pairs by the links between an image and the one that it repeats.
  found, false = Counter(), [(path, other) for path, other in stay.items() if root[path] != root[other]]
  leaders: dict[str, str] = {}
  for path in group:
    leaders.setdefault(root[path], group[path])
  for path, (origin, how) in planted.items():
    found[how] += path in stay or stay.get(origin) == path
  for how in CHANGES:
    print(f"{how}: {found[how]} of {len(planted) // len(CHANGES)} found")
  print(f"all: {sum(found.values()) / len(planted):.4f} of {len(planted)}; links between different photos: {len(false)} {false[:3]}")


def stages(options: argparse.Namespace) -> None:
  """2,000 CelebA photos of people with several, ORL, and repeated files: every stage but that of a person, and the table."""
  work, generator = Path(options.work) / "stages", np.random.default_rng(0)
  faces = work / "faces"
  if not faces.is_dir():
    source = read_source(data() / "celeba_aligned112")
    count = Counter(image.identity for image in source.images)
    many = sorted((name for name in count if count[name] >= 5), key=lambda name: (-count[name], name))
    chosen, people = [], iter(many)
    while len(chosen) < 2000:
      name = next(people)
      chosen += [image for image in source.images if image.identity == name]
    chosen = chosen[:2000]
    files = [(source.root / image.path, f"celeba_{image.path}") for image in chosen]
    orl = data() / "orl_faces"
    files += [(file, f"orl_{file.parent.name}/{file.name}") for file in sorted(orl.rglob("*.pgm"))]
    for number in generator.choice(len(files), 150, replace=False):  # the same file twice, half of them under another person
      origin, name = files[number]
      person = name.split("/")[0] if number % 2 else files[(number + 700) % len(files)][1].split("/")[0]
      files.append((origin, f"{person}/again_{number}{origin.suffix}"))
    for origin, name in files:
      (faces / name).parent.mkdir(parents=True, exist_ok=True)
      (faces / name).write_bytes(origin.read_bytes())
    (faces / files[0][1]).with_name("torn.jpg").write_bytes(files[0][0].read_bytes()[:600])
  common = {"work": work / "work", "say": print}
  net = {"model": options.model, "template": "arcface112"}
  for one in (clean_rank(faces, keep=15, **net, **common), clean_duplicates(faces, **common), clean_noise(faces, **net, **common),
              clean_people(faces, **net, **common)):
    print(one.summary())
  print(clean_list(faces, work / "leave_out.tsv", work=work / "work"))


def speed(options: argparse.Namespace) -> None:
  """Random images as vectors: ranks them and searches all for near-duplicates; and both against brute force on 5,000."""
  generator = np.random.default_rng(0)
  count = options.images

  def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

  def images(number: int) -> tuple[np.ndarray, ...]:
    people = max(number // 100, 2)
    label_n = np.arange(number) % people
    centre_cd = generator.normal(size=(people, 128)).astype(np.float32)
    unit_nd = centre_cd[label_n] + 0.8 * generator.normal(size=(number, 128)).astype(np.float32)
    unit_nd /= np.linalg.norm(unit_nd, axis=1, keepdims=True)
    hash_nk, vlad_nx = generator.integers(0, 256, (number, 32), np.uint8), generator.normal(size=(number, 128)).astype(np.float32)
    copies = generator.choice(number, (number // 100, 2), replace=False)
    hash_nk[copies[:, 1]] = hash_nk[copies[:, 0]] ^ (generator.random((len(copies), 32)) < 0.1).astype(np.uint8)
    vlad_nx[copies[:, 1]] = vlad_nx[copies[:, 0]] + 0.3 * generator.normal(size=(len(copies), 128))
    vlad_nx /= np.linalg.norm(vlad_nx, axis=1, keepdims=True)
    return unit_nd, label_n, hash_nk, np.roll(hash_nk, 1, 1), vlad_nx, np.roll(vlad_nx, 1, 1), copies

  unit_nd, label_n, hash_nk, mirrored_nk, vlad_nx, mirrored_nx, _ = images(5000)
  pair_p2, bits_p = near_hashes_of_one_set(hash_nk, mirrored_nk, 40)
  near, _ = near_vectors(vlad_nx, mirrored_nx, 0.7)
  slow_nn = np.stack([np.minimum(*(np.bitwise_count(hash_nk[row] ^ other).sum(1) for other in (hash_nk, mirrored_nk))) for row in range(5000)])
  expected = np.argwhere(np.triu(slow_nn <= 40, 1))
  assert np.array_equal(pair_p2, expected) and np.array_equal(bits_p, slow_nn[tuple(expected.T)])
  slow = np.argwhere(np.triu(np.maximum(vlad_nx @ vlad_nx.T, vlad_nx @ mirrored_nx.T) >= 0.7, 1))
  assert np.array_equal(near, slow)
  print(f"5,000 images against brute force: the same {len(pair_p2)} pairs by hashes and {len(near)} by vectors")
  for number in (count // 4, count):
    before = memory()
    unit_nd, label_n, hash_nk, mirrored_nk, vlad_nx, mirrored_nx, _ = images(number)
    held = memory()
    rank = _timed(rank_scores, unit_nd, label_n)
    hashes = _timed(near_hashes_of_one_set, hash_nk, mirrored_nk, 40)
    vectors = _timed(near_vectors, vlad_nx, mirrored_nx, 0.8)
    print(
      f"{number:,} images: rank {rank}, hashes {hashes}, vectors {vectors}; largest memory {before:.2f} GB before, {held:.2f} with the input,"
      f" {memory():.2f} after"
    )


def _timed(work: Callable[..., object], *arguments: object) -> str:
  start, spent = time.perf_counter(), time.process_time()
  work(*arguments)
  return f"{time.perf_counter() - start:.0f} s ({time.process_time() - spent:.0f} s of processors)"


def main() -> int:
  """Runs one check."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("check", choices=("labels", "duplicates", "stages", "speed"))
  parser.add_argument("--embeddings", nargs="+", default=[])
  parser.add_argument("--model")
  parser.add_argument("--work", default="runs/check_cleaning")
  parser.add_argument("--images", type=int, default=100_000)
  options = parser.parse_args()
  globals()[options.check](options)
  return 0


if __name__ == "__main__":
  sys.exit(main())
