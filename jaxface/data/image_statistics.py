"""Statistics of images that can stand for their quality: brightness, contrast, sharpness."""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from jaxface.data.source import Source

STATISTICS = ("brightness", "contrast", "sharpness")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CHUNK = 64


def measure_images(source: Source, *, progress: bool = False) -> Mapping[str, np.ndarray]:
  """Brightness, contrast and sharpness of every image of a source.

  Brightness and contrast are the mean and the standard deviation of the grey values in 0 … 255. Sharpness is the variance of
  their Laplacian (4 neighbours, without the border), which is large where edges are sharp; noise raises it too.

  Args:
    source: the images.
    progress: draw a progress bar.
  Returns:
    [N] float64 by name, see `STATISTICS`; NaN for images that cannot be read.
  Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000 (sharpness).
  """
  found = {name: np.full(source.num_records, np.nan) for name in STATISTICS}
  for start in tqdm(range(0, source.num_records, _CHUNK), desc="measure images", unit=f"{_CHUNK} images", disable=not progress):
    record_n = np.arange(start, min(start + _CHUNK, source.num_records))
    image_nhwc = np.empty((len(record_n), *source.image_shape), np.uint8)
    torn = {error.row for error in source.read(record_n, image_nhwc)}
    kept = np.array([row for row in range(len(record_n)) if row not in torn], np.int64)
    if len(kept):
      for name, value_n in zip(STATISTICS, _measure(image_nhwc[kept])):
        found[name][record_n[kept]] = value_n
  return found


def grey_images(image_nhwc: np.ndarray) -> np.ndarray:
  """Luma of colour images [N, H, W, 3], or grey ones [N, H, W, 1] as they are: [N, H, W] float32."""
  return image_nhwc.astype(np.float32) @ _LUMA if image_nhwc.shape[-1] == 3 else image_nhwc[..., 0].astype(np.float32)


def _measure(image_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  grey_nhw = grey_images(image_nhwc)
  inner_nhw = grey_nhw[:, 1:-1, 1:-1]
  laplacian_nhw = (
    grey_nhw[:, :-2, 1:-1] + grey_nhw[:, 2:, 1:-1] + grey_nhw[:, 1:-1, :-2] + grey_nhw[:, 1:-1, 2:] - 4 * inner_nhw
  )
  axes = (1, 2)
  return (
    grey_nhw.mean(axes, dtype=np.float64), grey_nhw.std(axes, dtype=np.float64), laplacian_nhw.var(axes, dtype=np.float64)
  )


__all__ = ["STATISTICS", "grey_images", "measure_images"]
