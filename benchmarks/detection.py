"""Face detection in photos of 640×480 pixels beside facenet-pytorch and YuNet, in one run on this CPU.

  python -m benchmarks.detection [--photos DIR] [--weights DIR] [--yunet FILE] [--rounds N] [--json FILE]

ours       `jaxface.detection.detect`, MTCNN with the released weights, one photo after the other
facenet    MTCNN of facenet-pytorch, the same weights and settings: smallest face 20, thresholds 0.6, 0.7, 0.7
yunet      YuNet in OpenCV's FaceDetectorYN, score 0.7

All sides get the same decoded photos. ours and facenet find the same faces, so the ratio of photos per second is that of faces per second.
Bar: ours ≥ 1.0 facenet; goal 3.
"""

import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import equal_malloc, has, interleave, machine, speedup
from benchmarks.options import benchmark_parser, parse_for_cpu
from benchmarks.page import Findings

SIZE = (480, 640)
COUNT = 12


def photos(folder: Path | None, count: int) -> list[np.ndarray]:
  """Photos of a folder, cropped and resized; each has at least 640×480 pixels."""
  from jaxface.detection.report import find_photos
  from jaxface.formats.images import decode_image, fit_image

  if folder is None:
    raise SystemExit("benchmarks.detection needs --photos: a folder of photos with faces, such as WIDER FACE's validation set")
  found = []
  for file in find_photos([folder])[:: 5]:
    image = decode_image(file.read_bytes(), where=str(file))
    if image.shape[0] >= SIZE[0] and image.shape[1] >= SIZE[1]:
      found.append(fit_image(image, SIZE))
  return found[:: max(1, len(found) // count)][:count]


def _suppress(boxes, scores, groups, threshold):
  """Stands in for `torchvision.ops.boxes.batched_nms` where torchvision cannot be loaded: the same result, in NumPy."""
  import torch

  from jaxface.geometry.rectangles import iou

  if not len(boxes):
    return torch.zeros(0, dtype=torch.int64)
  order = torch.argsort(scores, descending=True, stable=True)
  box, group = boxes[order].numpy(), groups[order].numpy()
  close = (iou(box, box) > threshold) & (group[:, None] == group)
  alive = np.ones(len(box), bool)
  for row in range(len(box)):
    if alive[row]:
      alive[row + 1 :] &= ~close[row, row + 1 :]
  return order[torch.from_numpy(np.flatnonzero(alive))]


def facenet(weights: Path) -> tuple[Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], str]:
  """MTCNN of facenet-pytorch: function of a photo to boxes with scores [N, 5] and points [N, 5, 2]; and which suppression it uses."""
  import torch

  kind = "torchvision"
  try:
    from torchvision.ops import boxes  # noqa: F401
  except (ImportError, RuntimeError):
    kind = "NumPy stand-in for torchvision's"
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
      del sys.modules[name]
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops",
                 "torchvision.ops.boxes", "torchvision.datasets", "torchvision.datasets.utils"):
      sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]  # type: ignore[attr-defined]
    sys.modules["torchvision.ops.boxes"].batched_nms = _suppress  # type: ignore[attr-defined]
  from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
  from facenet_pytorch.models.utils.detect_face import detect_face

  nets = []
  for net, name in ((PNet, "pnet"), (RNet, "rnet"), (ONet, "onet")):
    made = net(pretrained=False)
    made.load_state_dict(torch.load(weights / f"{name}.pt", weights_only=True))
    nets.append(made.eval())

  @torch.no_grad()
  def find(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    box_bn5, point_bn52 = detect_face(photo, 20, *nets, [0.6, 0.7, 0.7], 0.709, "cpu")
    return box_bn5[0].reshape(-1, 5), point_bn52[0]

  return find, kind


def yunet(file: str) -> Callable[[np.ndarray], int]:
  """YuNet in OpenCV."""
  import cv2

  net = cv2.FaceDetectorYN.create(file, "", (SIZE[1], SIZE[0]), 0.7, 0.3, 5000)

  def find(photo: np.ndarray) -> int:
    faces = net.detect(np.ascontiguousarray(photo[..., ::-1]))[1]
    return 0 if faces is None else len(faces)

  return find


def main() -> int:
  """Measures and prints; 1 if the bar is missed."""
  parser = benchmark_parser(__doc__, 5, "times that each side finds the faces of all photos")
  parser.add_argument("--photos", type=Path, help="folder of photos with faces")
  parser.add_argument("--weights", type=Path, required=True, help="pnet.pt, rnet.pt, onet.pt of facenet-pytorch")
  parser.add_argument("--count", type=int, default=COUNT, help="photos (default: %(default)s)")
  parser.add_argument("--yunet", help="ONNX file of YuNet")
  options = parse_for_cpu(parser)
  from jaxface.detection import detect, import_detector
  from jaxface.detection.mtcnn import Mtcnn

  detector = Mtcnn(import_detector(options.weights, "mtcnn").params)
  images = photos(options.photos, options.count)
  finders: dict[str, Callable[[np.ndarray], int]] = {"ours": lambda photo: len(detect([photo], detector)[0] or ())}
  facts: dict[str, object] = {"photos": len(images), "size": "640×480"}
  if has("facenet_pytorch") and has("torch"):
    theirs, facts["suppression of facenet"] = facenet(options.weights)
    finders["facenet"] = lambda photo: len(theirs(photo)[0])
  if options.yunet and has("cv2"):
    finders["yunet"] = yunet(options.yunet)
  faces = {name: sum(map(find, images)) for name, find in finders.items()}
  timing = interleave({name: lambda find=find: [find(photo) for photo in images] for name, find in finders.items()}, rounds=options.rounds)
  rows = []
  for name in finders:
    best = min(timing.wall[name])
    row = {"side": name, "faces": faces[name], "photos/s": len(images) / best, "faces/s": faces[name] / best,
           "ms per photo, best round": 1000 * best / len(images)}
    for peer in ("facenet", "yunet"):
      row[f"speed / {peer}"] = str(speedup(timing.wall, name, peer)) if peer in finders else "–"
      row[f"by processor time / {peer}"] = str(speedup(timing.cpu, name, peer)) if peer in finders else "–"
    rows.append(row)
  missed = "facenet" in finders and speedup(timing.wall, "ours", "facenet").middle < 1
  notes = ["Medians and quartiles of the ratios within each round.", "Bar: ours ≥ 1.0 facenet, goal 3." + (" Missed." if missed else "")]
  packages = machine("jax", "torch", "facenet-pytorch", "opencv-python-headless", "numpy")
  Findings("Face detection", packages, facts, rows, notes).publish(options.json)
  return int(missed)


if __name__ == "__main__":
  equal_malloc()
  raise SystemExit(main())
