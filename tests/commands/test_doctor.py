"""What `jaxface doctor` says about convolutions, whether or not the compiled part is there."""

from native_oracle import BUILT

from jaxface.layers import native
from jaxface.layers.explain import convolution
from jaxface.layers.formulation import VARIABLE


@BUILT
def test_the_version_of_onednn_where_it_serves(monkeypatch):
  monkeypatch.delenv(VARIABLE, raising=False)
  assert convolution() == f"onednn {native.onednn_version()}"


def test_what_is_missing_where_it_does_not(monkeypatch, tmp_path):
  monkeypatch.delenv(VARIABLE, raising=False)
  monkeypatch.setenv(native.VARIABLE, str(tmp_path / "absent.so"))
  assert convolution() == f"pure: oneDNN would be faster, but {native.why_not()}"
  assert "absent.so is not built" in convolution()


def test_what_was_asked_for(monkeypatch):
  monkeypatch.setenv(VARIABLE, "xla")
  assert convolution().startswith("xla")
  monkeypatch.setenv(VARIABLE, "cudnn")
  assert "'cudnn'" in convolution()
