"""PyTorch's training step of the class centres: a linear network of few inputs, CosFace, SGD with momentum; dense, or Partial FC."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy, linear, normalize

from benchmarks.head_settings import DECAY, LEARNING_RATE, MARGIN, MOMENTUM, SCALE, images_and_labels

CENTER_STD = 0.01


def start(
  classes: int, size: int, batch: int, group: int, *, device: str = "cpu", compiled: bool = False
) -> Callable[[], torch.Tensor]:
  """A function that runs one step and returns its loss.

  The dense side is the usual code with the fused optimizer. The sampled side gathers the rows of the sampled classes and their
  momentum, moves them and writes them back, so that no gradient of all classes is made; it draws as arcface_torch does.

  Args:
    classes: C.
    size: D.
    batch: B.
    group: one class of every `group` is sampled; 1 is the dense side.
    device: "cpu" or "cuda".
    compiled: the loss goes through `torch.compile`.
  """
  torch.manual_seed(0)
  image, label = images_and_labels(classes, batch)
  x = torch.from_numpy(image.reshape(batch, -1)).float().to(device) / 127.5 - 1.0
  own = torch.from_numpy(label).to(device)
  network = torch.nn.Linear(x.shape[1], size).to(device)
  weight = torch.empty(classes, size, device=device).normal_(0, CENTER_STD)
  rows = torch.arange(batch, device=device)
  settings = {"lr": LEARNING_RATE, "momentum": MOMENTUM, "weight_decay": DECAY, "fused": True}

  def loss_of(center: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    cosine = linear(normalize(network(x)), normalize(center))
    cosine[rows, own] -= MARGIN
    return cross_entropy(cosine.mul_(SCALE), own)

  if compiled:
    loss_of = torch.compile(loss_of, dynamic=False)
  if group == 1:
    weight.requires_grad_()
    optimizer = torch.optim.SGD([*network.parameters(), weight], **settings)

    def run() -> torch.Tensor:
      optimizer.zero_grad()
      loss = loss_of(weight, own)
      loss.backward()
      optimizer.step()
      return loss.detach()

    return run

  optimizer = torch.optim.SGD(network.parameters(), **settings)
  momentum, count = torch.zeros_like(weight), classes // group

  def run_sampled() -> torch.Tensor:
    positive = torch.unique(own)
    chance = torch.rand(classes, device=device)
    chance[positive] = 2.0
    index = torch.topk(chance, count)[1].sort()[0]
    center, moment = weight[index].requires_grad_(), momentum[index]
    optimizer.zero_grad()
    loss = loss_of(center, torch.searchsorted(index, own))
    loss.backward()
    optimizer.step()
    with torch.no_grad():
      moment.mul_(MOMENTUM).add_(center.grad).add_(center, alpha=DECAY)
      weight.index_copy_(0, index, center.sub_(moment, alpha=LEARNING_RATE))
      momentum.index_copy_(0, index, moment)
    return loss.detach()

  return run_sampled
