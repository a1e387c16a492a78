"""Eight forced host devices for every test, a warm compile cache, where real faces are, and small faces and networks."""

import errno
import gc
import os
import re
from pathlib import Path

from jaxface.xla_flags import libraries, unknown_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time of the tests is the compiler's, for small programs that run once. With XLA's older emitters, which need half the time,
# each program as one module of LLVM instead of parts with a compiler each, and in some folders without LLVM's optimisation.
# `make sweep` sets JAXFACE_OPTIMISED, and runs every test with the programs that users run.
OPTIMISED = bool(os.environ.get("JAXFACE_OPTIMISED"))
COMPILER = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  flags = f"{flags} --xla_force_host_platform_device_count=8"
if not OPTIMISED:
  # A flag that XLA does not know ends the process.
  unknown = [name for library in libraries("XLA_FLAGS") for name in unknown_flags(COMPILER, library)]
  flags = " ".join([flags, *(f"--{name}={value}" for name, value in COMPILER.items() if name not in flags and name not in unknown)])
os.environ["XLA_FLAGS"] = flags.strip()
cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxface" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

from collections.abc import Callable, Iterator  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from jaxface.formats.images import encode_jpeg  # noqa: E402
from jaxface.models.preprocess import get_preprocess  # noqa: E402
from jaxface.models.saved import SavedModel, variable_shapes  # noqa: E402

# The first example of a jitted function pays for its compilation: a deadline would time the compiler. Most examples have a shape of
# their own, which is compiled: few of them here, many in the sweep.
EXAMPLES = int(os.environ.get("JAXFACE_EXAMPLES", "6"))
hypothesis.settings.register_profile("jaxface", deadline=None, max_examples=EXAMPLES, derandomize=True)
hypothesis.settings.load_profile("jaxface")

# XLA's own passes are all there.
QUICKLY_COMPILED = () if OPTIMISED else (
  "alignment", "commands", "data", "detection", "heads", "inference", "integration", "interop", "layers", "losses", "models", "multiprocess", "pipeline",
  "testing", "training", "verifiers",
)
# A compiled program holds memory maps, of which Linux gives a process 65,530 (vm.max_map_count): beyond them LLVM ends the process.
MOST_MAPS = 15_000


def pytest_collection_finish() -> None:
  """What was imported stays: the collector need not walk through it again and again."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True, scope="module")
def _compiled_quickly(request) -> Iterator[None]:
  quick = request.path.relative_to(Path(__file__).parent).parts[0] in QUICKLY_COMPILED
  jax.config.update("jax_disable_most_optimizations", quick)
  with pytest.MonkeyPatch.context() as patch:
    if quick:
      # For the processes that tests start.
      patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def _few_memory_maps() -> Iterator[None]:
  yield
  maps = Path("/proc/self/maps")
  if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
    jax.clear_caches()
    gc.collect()


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


@pytest.fixture(scope="session")
def pretrained_torch(pretrained_onnx: Path) -> Path:
  """The same network as its authors published it, a state dict of PyTorch."""
  path = pretrained_onnx.with_suffix(".pt")
  if not path.is_file():
    pytest.skip(f"REAL DATA ABSENT: no pretrained network at {path}")
  return path


def jpeg(seed: int, height: int = 24, width: int = 24) -> bytes:
  """A smooth picture that no other seed gives."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  phase = np.random.default_rng(seed).uniform(0, 6, (3, 3))
  waves = [np.sin(6 * (a * x + b * y) + c) for a, b, c in phase]
  return encode_jpeg((127 + 120 * np.stack(waves, -1)).astype(np.uint8))


@pytest.fixture
def make_jpeg() -> Callable[..., bytes]:
  return jpeg


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
  """Makes `name/personNN/NNNN.jpg` with the given number of images of each person."""

  def make(images=(3, 2, 1, 4), name="faces", **size) -> Path:
    root = tmp_path / name
    for person, count in enumerate(images):
      folder = root / f"person{person:02d}"
      folder.mkdir(parents=True)
      for number in range(count):
        (folder / f"{number:04d}.jpg").write_bytes(jpeg(1000 * person + number, **size))
    return root

  return make


@pytest.fixture(scope="session")
def random_model():
  """Function (name, size, preprocess, **options) to a SavedModel whose numbers keep the signal's size."""

  def make(name: str, *, size: int = 16, preprocess: str = "unit", **options) -> SavedModel:
    rng = np.random.default_rng(0)

    def leaf(path, shape):
      key = path[-1].key
      if key == "kernel":
        return rng.normal(0, np.sqrt(2 / np.prod(shape.shape[:-1])), shape.shape).astype(np.float32)
      centre = {"scale": 1.0, "var": 1.0, "alpha": 0.25}.get(key, 0.0)
      return (centre + rng.uniform(-0.2, 0.2, shape.shape)).astype(np.float32)

    convention = get_preprocess(preprocess, size=size)
    shapes = variable_shapes(name, options, convention)
    variables = jax.tree_util.tree_map_with_path(leaf, shapes)
    return SavedModel(name, options, convention, variables, {"source": "a test"})

  return make


@pytest.fixture
def forbid_reading(monkeypatch) -> Callable[[str], None]:
  """Function that makes every file of a name unreadable, as a missing permission does (of which root knows nothing)."""

  def forbid(name: str) -> None:
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
      if path.name == name:
        raise PermissionError(errno.EACCES, "Permission denied")
      return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)

  return forbid


@pytest.fixture
def flip_all() -> Callable[..., None]:
  """Function (file, read, expected, error): a flipped bit in any byte of `file` makes `read` raise `error` with its name."""

  def flip_all(file: Path, read: Callable[[], object], expected: object, error: type[Exception]) -> None:
    whole = file.read_bytes()
    for place in range(len(whole)):
      changed = bytearray(whole)
      changed[place] ^= 1 << place % 8
      file.write_bytes(changed)
      with pytest.raises(error, match=re.escape(file.name)):
        read()
    file.write_bytes(whole)
    assert read() == expected

  return flip_all
