"""Ensembles of small networks, one per patch of the face: DeepID's sixty, DeepID2's two hundred."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxface.geometry.patches import COLOURS, Patch, boxes, crop, deepid2_patches, deepid_patches
from jaxface.geometry.templates import Template
from jaxface.geometry.templates import template as template_of
from jaxface.layers.members import members_name
from jaxface.models.contract import Published, takes_image
from jaxface.models.deepid import DeepIDNet, patch_convention
from jaxface.models.preprocess import Preprocess, get_preprocess, to_grey
from jaxface.models.registry import register, unknown

PUBLISHED = {
  "deepid_ensemble": Published(
    paper="Sun et al., Deep Learning Face Representation from Predicting 10,000 Classes, 2014, table 3",
    lfw=97.45,
    note="100 patches with Joint Bayesian and transfer learning; CelebFaces alone, 96.05",
  ),
  "deepid2_ensemble": Published(
    "Sun et al., Deep Learning Face Representation by Joint Identification-Verification, 2014, section 4",
    lfw=99.15, note="seven groups of 25 of the 200 networks, PCA to 180, Joint Bayesian, fused; CelebFaces+",
  ),
}


SMALLEST = 31  # pixels: the fourth layer of a network has no position below


class PatchEnsemble(nn.Module):
  """See `deepid_ensemble` and `deepid2_ensemble`. Networks of one input shape are one vmapped network with a leading member axis."""

  patches: tuple[Patch, ...]
  embedding_size: int
  width: float
  dropout: float
  remat: bool
  dtype: Any
  convention: Preprocess

  @property
  def members(self) -> int:
    """Number of networks."""
    return len(self.patches)

  @nn.compact
  @takes_image
  def __call__(self, image_bhwc: Array, train: bool) -> Array:
    """Embed whole aligned faces [B, H, W, 3] of any size: [B, members · embedding_size] float32, in the order of the patches."""
    face = template_of(self.convention.template)
    _, height, width, _ = image_bhwc.shape
    box_n4 = boxes(self.patches, face, (height, width))
    grey_bhwc = to_grey(image_bhwc)
    stack = nn.vmap(
      DeepIDNet, in_axes=(0, None), out_axes=1, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}
    )
    parts, past = [], 0
    for (size, colour), group in groupby(self.patches, key=lambda patch: (patch.input_size, patch.colour)):
      first, past = past, past + len(list(group))
      patch_mbhwc = crop(image_bhwc if colour == "rgb" else grey_bhwc, jnp.asarray(box_n4[first:past]), size)
      shape = "x".join(map(str, patch_mbhwc.shape[2:]))
      net = stack(
        patch_convention(size[0], size[1], colour), self.width, self.embedding_size, self.dropout, self.remat, self.dtype,
        name=members_name(first, past, shape),
      )
      parts.append(net(patch_mbhwc, train))
    return jnp.concatenate(parts, axis=1).reshape(image_bhwc.shape[0], -1)


@register
def deepid_ensemble(
  regions: Sequence[str] = (),
  scales: Sequence[float] = (0.8, 1.0, 1.25),
  colours: Sequence[str] = COLOURS,
  template: str = "arcface112",
  embedding_size: int = 160,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
  width: float = 1.0,
) -> nn.Module:
  """DeepID's sixty networks, one per patch, fifteen for each of four input shapes.

  Takes the whole aligned face, crops the patches on the device, and concatenates the networks' outputs in the order of
  `jaxface.geometry.patches.deepid_patches`: 60 × 160 numbers. The paper's 19,200 include the mirror image of the face: use
  `mirror="concat"` to embed. Each network is trained with its own class centres: `jaxface.heads.per_member.PerMember`, with
  the same number of members.

  Input: the face at the size of the template or any other, scaled to ±1, RGB; the patches do not fit a face of another aspect
  or alignment. The paper aligns weakly, by the eyes and the middle of the mouth; the template, the boxes
  (`deepid_patches`) and the range are our choice.

  Args:
    regions: names of some of the ten; none for all.
    scales: scale factors of the boxes.
    colours: "rgb", "grey" or both.
    template: alignment of the faces.
    embedding_size: length of each network's embedding.
    dtype: dtype of the networks' computation.
    remat: passed to each network.
    dropout: passed to each network.
    width: factor on the channels of each network.
  Raises:
    ValueError: unknown region, scale or colour.
    KeyError: unknown template.
  Source: Sun et al., "Deep Learning Face Representation from Predicting 10,000 Classes", 2014; LFW 97.45 %.
  """
  face = template_of(template)
  patches = deepid_patches(face, regions=regions, scales=scales, colours=colours)
  return PatchEnsemble(patches, embedding_size, width, dropout, remat, jnp.dtype(dtype), _whole_face(face))


@register
def deepid2_ensemble(
  patches: Sequence[str] = (),
  input_size: Sequence[int] = (55, 47),
  template: str = "arcface112",
  embedding_size: int = 160,
  dtype: str = "float32",
  remat: bool = False,
  dropout: float = 0.0,
  width: float = 1.0,
) -> nn.Module:
  """DeepID2's two hundred networks, one per patch; the 400 crops are the patches of the face and of its mirror image.

  As `deepid_ensemble`, with one input shape, 55×47, in RGB and in grey: 200 × 160 numbers, in the order of
  `jaxface.geometry.patches.deepid2_patches`. The paper selects 25 of them by a greedy search, and repeats it six times without
  those already selected; `patches` takes such a selection. Input: the face at the size of the template or any other, scaled to
  ±1, RGB. The positions of the patches are our choice.

  Args:
    patches: names of the patches to use, such as "row2_column2_100_rgb"; none for all.
    input_size: height and width of the networks' input in pixels, at least 31 each; (39, 31) takes a third of the time.
    template: alignment of the faces.
    embedding_size: length of each network's embedding.
    dtype: dtype of the networks' computation.
    remat: passed to each network.
    dropout: passed to each network.
    width: factor on the channels of each network.
  Raises:
    ValueError: unknown or repeated patch; an input that is too small.
    KeyError: unknown template.
  Source: Sun et al., "Deep Learning Face Representation by Joint Identification-Verification", 2014; LFW 99.15 %.
  """
  face = template_of(template)
  if len(input_size) != 2 or min(input_size) < SMALLEST:
    raise ValueError(f"deepid2_ensemble: input_size {tuple(input_size)}: takes height and width, at least {SMALLEST} each")
  every = {patch.name: patch for patch in deepid2_patches(face, input_size=(input_size[0], input_size[1]))}
  for name in patches:
    if name not in every:
      raise ValueError(unknown("patch of deepid2_ensemble", name, list(every)))
  if len(set(patches)) < len(patches):
    raise ValueError(f"deepid2_ensemble: patches {tuple(patches)}: must be distinct")
  chosen = tuple(patch for name, patch in every.items() if not patches or name in patches)
  return PatchEnsemble(chosen, embedding_size, width, dropout, remat, jnp.dtype(dtype), _whole_face(face))


def _whole_face(face: Template) -> Preprocess:
  """Input convention of an ensemble: the whole aligned face, at any size."""
  return get_preprocess("unit", size=face.size, template=face.name, fit="resize")


__all__ = ["PUBLISHED", "PatchEnsemble", "deepid2_ensemble", "deepid_ensemble"]
