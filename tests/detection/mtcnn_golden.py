"""Weights and inputs of tests of MTCNN's networks, and the script that makes their expected outputs with PyTorch.

  python tests/detection/mtcnn_golden.py WEIGHTS     # needs torch; WEIGHTS has pnet.pt, rnet.pt, onet.pt of facenet-pytorch

writes mtcnn_golden.npz: outputs of the networks, written in PyTorch as facenet-pytorch has them, on random and on released weights.
"""

import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
IMAGES = {"pnet": (2, 17, 20, 3), "rnet": (3, 24, 24, 3), "onet": (3, 48, 48, 3)}
_CONVS = {
  "pnet": [(10, 3, 3), (16, 10, 3), (32, 16, 3)],
  "rnet": [(28, 3, 3), (48, 28, 3), (64, 48, 2)],
  "onet": [(32, 3, 3), (64, 32, 3), (64, 64, 3), (128, 64, 2)],
}
_DENSE = {"pnet": None, "rnet": (128, 576), "onet": (256, 1152)}
_HEADS = {"pnet": (2, 4), "rnet": (2, 4), "onet": (2, 4, 10)}
_POOLS = {"pnet": [2], "rnet": [3, 3], "onet": [3, 3, 2]}


def image(net: str) -> np.ndarray:
  """[B, H, W, 3] float32 in −1..1."""
  return np.random.default_rng(1).uniform(-1, 1, IMAGES[net]).astype(np.float32)


def random_state(net: str, seed: int = 0) -> dict[str, np.ndarray]:
  """Random weights with the names of facenet-pytorch."""
  rng = np.random.default_rng([seed, len(net), *net.encode()])
  state = {}

  def layer(name, shape):
    state[f"{name}.weight"] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    state[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)

  for number, (out, into, side) in enumerate(_CONVS[net], 1):
    layer(f"conv{number}", (out, into, side, side))
    state[f"prelu{number}.weight"] = rng.uniform(0, 0.5, out).astype(np.float32)
  last, kind, size = len(_CONVS[net]) + 1, "conv", (_CONVS[net][-1][0], 1, 1)
  if _DENSE[net]:
    layer(f"dense{last}", _DENSE[net])
    state[f"prelu{last}.weight"] = rng.uniform(0, 0.5, _DENSE[net][0]).astype(np.float32)
    last, kind, size = last + 1, "dense", _DENSE[net][:1]
  for head, count in enumerate(_HEADS[net], 1):
    layer(f"{kind}{last}_{head}", (count, *size))
  return state


def by_torch(net: str, state: dict) -> list[np.ndarray]:
  """Probability of a face, offsets and, for O-Net, points, by PyTorch; channels last."""
  import torch
  import torch.nn.functional as F

  state = {name: torch.as_tensor(np.array(array)) for name, array in state.items()}
  x = torch.from_numpy(image(net).transpose(0, 3, 1, 2))
  for number in range(1, len(_CONVS[net]) + 1):
    x = F.prelu(F.conv2d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"]), state[f"prelu{number}.weight"])
    if number <= len(_POOLS[net]):
      x = F.max_pool2d(x, _POOLS[net][number - 1], 2, ceil_mode=True)
  last = len(_CONVS[net]) + 1
  if not _DENSE[net]:
    heads = [F.conv2d(x, state[f"conv{last}_{head}.weight"], state[f"conv{last}_{head}.bias"]) for head in (1, 2)]
    return [heads[0].softmax(1)[:, 1].numpy(), heads[1].numpy().transpose(0, 2, 3, 1)]
  x = x.permute(0, 3, 2, 1).reshape(len(x), -1)
  x = F.prelu(F.linear(x, state[f"dense{last}.weight"], state[f"dense{last}.bias"]), state[f"prelu{last}.weight"])
  count = len(_HEADS[net])
  heads = [F.linear(x, state[f"dense{last + 1}_{head}.weight"], state[f"dense{last + 1}_{head}.bias"]) for head in range(1, count + 1)]
  return [heads[0].softmax(1)[:, 1].numpy(), *(head.numpy() for head in heads[1:])]


if __name__ == "__main__":
  import torch

  found = {}
  for net in IMAGES:
    released = torch.load(Path(sys.argv[1]) / f"{net}.pt", weights_only=True)
    for kind, state in (("random", random_state(net)), ("released", released)):
      for number, array in enumerate(by_torch(net, state)):
        found[f"{kind}_{net}_{number}"] = array
  np.savez_compressed(FILE, **found)
