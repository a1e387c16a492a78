"""The same networks in PyTorch, channels last, as peers of our training step and embedding."""

from functools import partial

try:
  import torch
except ImportError as error:
  raise ImportError("this benchmark needs PyTorch: pip install -e .[bench]") from error
from torch import nn


def conv_norm(cin: int, cout: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1,
              act: bool = True) -> nn.Sequential:
  """Convolution, batch norm and PReLU."""
  padding = kernel // 2 if padding is None else padding
  layers = [nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(cout)]
  return nn.Sequential(*layers, *([nn.PReLU(cout)] if act else []))


class IResNetUnit(nn.Module):
  """BN-Conv-BN-PReLU-Conv-BN with a shortcut."""

  def __init__(self, cin: int, cout: int, stride: int):
    super().__init__()
    self.body = nn.Sequential(
      nn.BatchNorm2d(cin), conv_norm(cin, cout), conv_norm(cout, cout, stride=stride, act=False)
    )
    self.shortcut = nn.Identity()
    if stride != 1 or cin != cout:
      self.shortcut = conv_norm(cin, cout, kernel=1, stride=stride, act=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.shortcut(x) + self.body(x)


def iresnet(units: tuple[int, ...] = (2, 2, 2, 2), width: float = 1.0, side: int = 112,
            embedding_size: int = 512) -> nn.Module:
  """LResNet-E-IR for images of `side` × `side` pixels."""
  stem, *stages = (round(width * channels) for channels in (64, 64, 128, 256, 512))
  layers: list[nn.Module] = [conv_norm(3, stem)]
  cin = stem
  for count, cout in zip(units, stages):
    for index in range(count):
      layers.append(IResNetUnit(cin, cout, 2 if index == 0 else 1))
      cin = cout
  dense = nn.Linear(cin * (side // 16) ** 2, embedding_size)
  layers += [nn.BatchNorm2d(cin), nn.Flatten(), dense, nn.BatchNorm1d(embedding_size)]
  return nn.Sequential(*layers)


class Bottleneck(nn.Module):
  """1×1, depthwise 3×3, linear 1×1; with a shortcut if the shapes match."""

  def __init__(self, cin: int, expanded: int, cout: int, stride: int):
    super().__init__()
    self.body = nn.Sequential(
      conv_norm(cin, expanded, 1), conv_norm(expanded, expanded, 3, stride, groups=expanded),
      conv_norm(expanded, cout, 1, act=False),
    )
    self.add = stride == 1 and cin == cout

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return x + self.body(x) if self.add else self.body(x)


def mobilefacenet(embedding_size: int = 128) -> nn.Module:
  """MobileFaceNet for 112×112 images, with PReLU."""
  layers: list[nn.Module] = [conv_norm(3, 64, 3, 2), conv_norm(64, 64, 3, groups=64)]
  cin = 64
  for count, expansion, cout, stride in ((5, 2, 64, 2), (1, 4, 128, 2), (6, 2, 128, 1), (1, 4, 128, 2), (2, 2, 128, 1)):
    for index in range(count):
      layers.append(Bottleneck(cin, expansion * cin, cout, stride if index == 0 else 1))
      cin = cout
  layers += [conv_norm(cin, 512, 1), conv_norm(512, 512, 7, padding=0, groups=512, act=False),
             conv_norm(512, embedding_size, 1, act=False), nn.Flatten()]
  return nn.Sequential(*layers)


class CosFaceHead(nn.Module):
  """Dense class centres with a cosine margin."""

  def __init__(self, embedding_size: int, classes: int, scale: float = 64.0, margin: float = 0.35):
    super().__init__()
    self.center = nn.Parameter(0.01 * torch.randn(classes, embedding_size))
    self.scale, self.margin = scale, margin

  def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    cosine = nn.functional.normalize(x) @ nn.functional.normalize(self.center).t()
    cosine = cosine - self.margin * nn.functional.one_hot(label, cosine.shape[1])
    return nn.functional.cross_entropy(self.scale * cosine, label)


NETS = {
  "iresnet18": iresnet,
  "iresnet50": partial(iresnet, (3, 4, 14, 3)),
  "mobilefacenet": mobilefacenet,
  "half_iresnet18": partial(iresnet, width=0.5, side=64),
}


def normalise(image_bhwc: torch.Tensor) -> torch.Tensor:
  """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in -1..1, channels last in memory."""
  return image_bhwc.permute(0, 3, 1, 2).float().sub(127.5).div(127.5)


def count_parameters(*modules: nn.Module) -> int:
  """Number of parameters of the modules."""
  return sum(p.numel() for module in modules for p in module.parameters())
