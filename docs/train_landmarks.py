"""Trains the landmark network on HELEN.

  python docs/train_landmarks.py DATA/photos runs/landmarks --steps 1600
"""

import argparse
import dataclasses
from pathlib import Path

from jaxface.alignment.landmark_training import LandmarkTraining, train_landmarks
from jaxface.formats.landmarks import read_landmarks


def main() -> None:
  """Trains, or goes on."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("photos", type=Path, help="folder with helen_train/ and helen_train.json")
  parser.add_argument("workdir", type=Path)
  for field in dataclasses.fields(LandmarkTraining):
    if isinstance(field.default, tuple):
      continue
    parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
  options = vars(parser.parse_args())
  photos, workdir = options.pop("photos"), options.pop("workdir")
  faces = read_landmarks(photos / "helen_train.json", points="points68")
  train_landmarks(
    photos / "helen_train", faces, workdir, LandmarkTraining(**options), licence="research only", origin="HELEN (Le et al., 2012), iBUG",
    progress=True,
  )


if __name__ == "__main__":
  main()
