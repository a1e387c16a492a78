"""Networks in PyTorch under the names that published state dicts have, written here after their descriptions."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def torch():
  return pytest.importorskip("torch")


@pytest.fixture(scope="session")
def named_nets(torch) -> SimpleNamespace:
  """Functions to networks with random numbers everywhere: `iresnet`, `mbf` and `foamliu`."""
  nn = torch.nn

  class IUnit(nn.Module):
    def __init__(self, cin, cout, stride):
      super().__init__()
      self.bn1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, cout, 3, 1, 1, bias=False)
      self.bn2, self.prelu = nn.BatchNorm2d(cout), nn.PReLU(cout)
      self.conv2, self.bn3 = nn.Conv2d(cout, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
      self.downsample = None
      if stride > 1:
        self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
      y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
      return y + (x if self.downsample is None else self.downsample(x))

  class IResNet(nn.Module):
    def __init__(self, units, stem, side, embedding_size):
      super().__init__()
      self.conv1, self.bn1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem)
      self.prelu, channels = nn.PReLU(stem), stem
      for stage, count in enumerate(units, start=1):
        parts = []
        for index in range(count):
          parts.append(IUnit(channels, stem * 2 ** (stage - 1), 1 if index else 2))
          channels = stem * 2 ** (stage - 1)
        setattr(self, f"layer{stage}", nn.Sequential(*parts))
      self.bn2, self.fc = nn.BatchNorm2d(channels), nn.Linear(channels * (side // 16) ** 2, embedding_size)
      self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, x):
      x = self.prelu(self.bn1(self.conv1(x)))
      x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
      return self.features(self.fc(torch.flatten(x, 1)))

  class Layers(nn.Module):
    """`layers`, one after the other; with `add` beside a shortcut."""

    def __init__(self, *parts, add=False):
      super().__init__()
      self.layers, self.add = nn.Sequential(*parts), add

    def forward(self, x):
      return x + self.layers(x) if self.add else self.layers(x)

  def block(cin, cout, kernel, stride=1, groups=1, act=True, padding=None):
    padding = kernel // 2 if padding is None else padding
    parts = [nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return Layers(*parts, *([nn.PReLU(cout)] if act else []))

  def bottleneck(cin, expanded, cout, stride):
    return Layers(block(cin, expanded, 1), block(expanded, expanded, 3, stride, expanded),
                  block(expanded, cout, 1, act=False), add=stride == 1)

  class Mbf(nn.Module):
    def __init__(self, blocks, scale, width, side, embedding_size):
      super().__init__()
      c = round(64 * scale * width)
      e1, e2, e3, last = (round(n * width) for n in (128, 256, 512, 512))

      def residuals(count, channels, expanded):
        return Layers(*(bottleneck(channels, expanded, channels, 1) for _ in range(count)))

      second = block(c, c, 3, groups=c // scale) if blocks[0] == 1 else residuals(blocks[0], c, e1)
      self.layers = nn.ModuleList([
        block(3, c, 3, 2), second, bottleneck(c, e1, c, 2), residuals(blocks[1], c, e1),
        bottleneck(c, e2, 2 * c, 2), residuals(blocks[2], 2 * c, e2),
        bottleneck(2 * c, e3, 2 * c, 2), residuals(blocks[3], 2 * c, e2),
      ])
      self.conv_sep = block(2 * c, last, 1)
      self.features = Layers(
        block(last, last, side // 16, groups=last, act=False, padding=0), nn.Flatten(),
        nn.Linear(last, embedding_size, bias=False), nn.BatchNorm1d(embedding_size),
      )

    def forward(self, x):
      for layer in self.layers:
        x = layer(x)
      return self.features(self.conv_sep(x))

  def relu6_block(cin, cout, kernel, stride=1, groups=1):
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU6())

  class Separable(nn.Module):
    def __init__(self, c):
      super().__init__()
      self.depthwise, self.pointwise = nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False)
      self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

    def forward(self, x):
      return torch.relu(self.bn2(self.pointwise(torch.relu(self.bn1(self.depthwise(x))))))

  class Inverted(nn.Module):
    def __init__(self, cin, expanded, cout, stride):
      super().__init__()
      self.add = stride == 1
      self.conv = nn.Sequential(
        relu6_block(cin, expanded, 1), relu6_block(expanded, expanded, 3, stride, expanded),
        nn.Conv2d(expanded, cout, 1, bias=False), nn.BatchNorm2d(cout),
      )

    def forward(self, x):
      return x + self.conv(x) if self.add else self.conv(x)

  class Foamliu(nn.Module):
    def __init__(self, width, side, embedding_size):
      super().__init__()
      c = round(64 * width)
      self.conv1, self.dw_conv = relu6_block(3, c, 3, 2), Separable(c)
      parts, cin = [], c
      for expanded, cout, count, stride in ((2, 1, 5, 2), (4, 2, 1, 2), (4, 2, 6, 1), (8, 2, 1, 2), (4, 2, 2, 1)):
        for index in range(count):
          parts.append(Inverted(cin, expanded * c, cout * c, 1 if index else stride))
          cin = cout * c
      self.conv2 = relu6_block(cin, 8 * c, 1)
      self.gdconv = nn.Module()
      self.gdconv.depthwise = nn.Conv2d(8 * c, 8 * c, side // 16, groups=8 * c, bias=False)
      self.gdconv.bn = nn.BatchNorm2d(8 * c)
      self.conv3, self.bn = nn.Conv2d(8 * c, embedding_size, 1), nn.BatchNorm2d(embedding_size)
      self.features = nn.Sequential(*parts)

    def forward(self, x):
      x = self.conv2(self.features(self.dw_conv(self.conv1(x))))
      return self.bn(self.conv3(self.gdconv.bn(self.gdconv.depthwise(x)))).flatten(1)

  def randomised(make: Callable) -> Callable:
    def net(*args, **kwargs):
      torch.manual_seed(0)
      module = make(*args, **kwargs).eval()
      with torch.no_grad():
        for name, tensor in module.state_dict().items():
          if tensor.ndim == 1:
            centre = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            tensor.uniform_(centre - 0.3, centre + 0.3)
      return module

    return net

  return SimpleNamespace(iresnet=randomised(IResNet), mbf=randomised(Mbf), foamliu=randomised(Foamliu))
