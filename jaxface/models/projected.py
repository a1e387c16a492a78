"""A learned linear projection on top of a frozen network."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jax import Array, lax

from jaxface.losses.unit import unit_rows
from jaxface.models.contract import takes_image
from jaxface.models.preprocess import Preprocess
from jaxface.models.registry import create, register, with_taken


class Projected(nn.Module):
  """See `projected`. Parameters under `frozen` get no gradient and no weight decay."""

  frozen: nn.Module
  embedding_size: int
  dropout: float

  @property
  def convention(self) -> Preprocess:
    """The convention of the inner network."""
    return self.frozen.convention

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed images: [B, H, W, 3] float in the network's input convention to [B, embedding_size] float32."""
    # Always in inference mode: its running statistics are frozen too.
    unit_bd, _ = unit_rows(lax.stop_gradient(self.frozen(image_bhwc, train=False)))
    unit_bd = nn.Dropout(self.dropout, deterministic=not train)(unit_bd)
    orthogonal = nn.initializers.orthogonal()
    return nn.Dense(self.embedding_size, use_bias=False, kernel_init=orthogonal, name="projection")(unit_bd)


@register
def projected(
  backbone: str = "smallresnet",
  backbone_options: Mapping[str, Any] | None = None,
  embedding_size: int = 128,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
) -> nn.Module:
  """VGG-Face's last stage: embeddings of a trained network, scaled to length one, times a learned matrix.

  The matrix is initialised orthogonal, which preserves distances as far as its size allows. Train it with `model.init_from`
  set to the trained network.

  Args:
    backbone: name of the frozen network.
    backbone_options: its options, except dtype and remat.
    embedding_size: length of the projection.
    dtype: dtype of the backbone's computation.
    remat: passed to the backbone; has no effect, since the backbone has no backward pass.
    dropout: share of the features dropped before the projection.
  Source: Parkhi et al., "Deep Face Recognition", 2015, §4.2.
  """
  inside = create(backbone, **(backbone_options or {}), **with_taken(backbone, dtype=dtype, remat=remat))
  return Projected(inside, embedding_size, dropout)


__all__ = ["Projected", "projected"]
