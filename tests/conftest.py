"""Eight forced host devices for every test, a warm compile cache, and where real faces are."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8".strip()
cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxface" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# The first example of a jitted function pays for its compilation: a deadline would time the compiler.
hypothesis.settings.register_profile("jaxface", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("jaxface")


@pytest.fixture(scope="session")
def face_data() -> Path:
  """The folder of real datasets, by name (celeba_aligned112, lfw_aligned112, protocols, orl_faces)."""
  root = os.environ.get("JAXFACE_DATA")
  if not root or not Path(root).is_dir():
    pytest.skip(f"REAL DATA ABSENT: JAXFACE_DATA is {root!r}, not a folder: nothing real was tested here")
  return Path(root)


@pytest.fixture(scope="session")
def pretrained_onnx(face_data: Path) -> Path:
  """The pretrained MobileFaceNet that stands beside the data (folder `weights`, or JAXFACE_WEIGHTS)."""
  folder = Path(os.environ.get("JAXFACE_WEIGHTS", face_data.parent / "weights"))
  path = folder / "mobilefacenet_ms1m_128d.onnx"
  if not path.is_file():
    pytest.skip(f"REAL DATA ABSENT: no pretrained network at {path}")
  return path
