"""PyTorch's training step of a network: the same network, loss and optimizer as `net_step`, channels last."""

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.head_settings import DECAY, LEARNING_RATE, MARGIN, MOMENTUM, SCALE
from benchmarks.nets import Net, images, labels
from benchmarks.torch_nets import CosFaceHead, build, count_parameters, normalise


def ready(
  net: Net, classes: int, dtype: str, batch_size: int, compiled: bool, device: str = "cpu"
) -> tuple[Callable[[], torch.Tensor], dict[str, Any]]:
  """A function that runs one step and returns its loss, and facts.

  Args:
    net: the network.
    classes: identities.
    dtype: "float32", or "bfloat16" by autocast.
    batch_size: images.
    compiled: by `torch.compile`; otherwise eager.
    device: "cpu" or "cuda".
  """
  torch.manual_seed(0)
  image = torch.from_numpy(images(net.side, batch_size)).to(device)
  label = torch.from_numpy(labels(classes, batch_size)).to(device)
  model = build(net).to(device, memory_format=torch.channels_last).train()
  with torch.no_grad():
    embedding_size = model(normalise(image[:2])).shape[1]
  head = CosFaceHead(embedding_size, classes, SCALE, MARGIN).to(device)
  params = [*model.parameters(), *head.parameters()]
  optimizer = torch.optim.SGD(
    [
      {"params": [p for p in params if p.ndim > 1], "weight_decay": DECAY},
      {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ],
    lr=LEARNING_RATE,
    momentum=MOMENTUM,
    fused=True,
  )

  def forward(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return head(model(normalise(image)), label)

  if compiled:
    forward = torch.compile(forward, dynamic=False)

  def step() -> torch.Tensor:
    optimizer.zero_grad()
    with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
      loss = forward(image, label)
    loss.backward()
    optimizer.step()
    return loss.detach()

  start = time.perf_counter()
  step().item()
  return step, {"parameters": count_parameters(model, head), "first_seconds": time.perf_counter() - start}
