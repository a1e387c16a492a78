"""The same networks in PyTorch, channels last, as peers of our training step and embedding."""

from functools import partial

try:
  import torch
except ImportError as error:
  raise ImportError("this benchmark needs PyTorch: pip install -e .[bench]") from error
from torch import nn

from benchmarks.nets import Net


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


def mobilefacenet(side: int = 112, width: float = 1.0, embedding_size: int = 128) -> nn.Module:
  """MobileFaceNet for images of `side` × `side` pixels, with PReLU."""

  def scaled(number: int) -> int:
    return max(1, round(width * number))

  cin = scaled(64)
  layers: list[nn.Module] = [conv_norm(3, cin, 3, 2), conv_norm(cin, cin, 3, groups=cin)]
  for count, expanded, cout, stride in ((5, 128, 64, 2), (1, 256, 128, 2), (6, 256, 128, 1), (1, 512, 128, 2), (2, 256, 128, 1)):
    for index in range(count):
      layers.append(Bottleneck(cin, scaled(expanded), scaled(cout), stride if index == 0 else 1))
      cin = scaled(cout)
  last = scaled(512)
  layers += [conv_norm(cin, last, 1), conv_norm(last, last, side // 16, padding=0, groups=last, act=False),
             conv_norm(last, embedding_size, 1, act=False), nn.Flatten()]
  return nn.Sequential(*layers)


class TransformerBlock(nn.Module):
  """Norm and attention with a shortcut, then norm and two dense layers with another."""

  def __init__(self, channels: int, heads: int):
    super().__init__()
    self.heads = heads
    self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
    self.qkv, self.project = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)
    self.dense = nn.Sequential(nn.Linear(channels, 4 * channels), nn.ReLU6(), nn.Linear(4 * channels, channels))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    batch, tokens, channels = x.shape
    query, key, value = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
    y = nn.functional.scaled_dot_product_attention(query, key, value)
    x = x + self.project(y.transpose(1, 2).reshape(batch, tokens, channels))
    return x + self.dense(self.norm2(x))


class VisionTransformer(nn.Module):
  """InsightFace's vision transformer without masked tokens and stochastic depth."""

  def __init__(self, channels: int = 512, depth: int = 24, heads: int = 8, patch: int = 9, side: int = 112, embedding_size: int = 512):
    super().__init__()
    tokens = (side // patch) ** 2
    self.patches = nn.Conv2d(3, channels, patch, patch)
    self.position = nn.Parameter(0.02 * torch.randn(tokens, channels))
    self.blocks = nn.Sequential(*(TransformerBlock(channels, heads) for _ in range(depth)))
    self.norm = nn.LayerNorm(channels)
    self.head = nn.Sequential(
      nn.Flatten(), nn.Linear(tokens * channels, channels, bias=False), nn.BatchNorm1d(channels, eps=2e-5),
      nn.Linear(channels, embedding_size, bias=False), nn.BatchNorm1d(embedding_size, eps=2e-5),
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    tokens = self.patches(x).flatten(2).transpose(1, 2)
    return self.head(self.norm(self.blocks(tokens + self.position)))


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


# By name in our registry.
_MODELS = {
  "iresnet": iresnet,
  "iresnet18": iresnet,
  "iresnet50": partial(iresnet, (3, 4, 14, 3)),
  "iresnet100": partial(iresnet, (3, 13, 30, 3)),
  "mobilefacenet": mobilefacenet,
  "vit": VisionTransformer,
  "vit_b": VisionTransformer,
}


def build(net: Net) -> nn.Module:
  """The network with the same options as ours.

  Raises:
    ValueError: masked tokens or stochastic depth, which are not here.
  """
  options = dict(net.options)
  for name in ("masked", "stochastic_depth"):
    if options.pop(name, 0.0 if not net.model.startswith("vit") else None) != 0.0:
      raise ValueError(f"{name} of {net.model} is not 0: the network in PyTorch has none")
  return _MODELS[net.model](side=net.side, **options)


def normalise(image_bhwc: torch.Tensor) -> torch.Tensor:
  """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in -1..1, channels last in memory."""
  return image_bhwc.permute(0, 3, 1, 2).float().sub(127.5).div(127.5)


def count_parameters(*modules: nn.Module) -> int:
  """Number of parameters of the modules."""
  return sum(p.numel() for module in modules for p in module.parameters())
