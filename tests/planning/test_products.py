"""Products of a convolution without those of padding: the numbers of three ways to count, and of a loop over all of them."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jax import lax

from jaxface.planning.costs import product_flops
from jaxface.planning.hlo import read_program
from jaxface.planning.products import equation_flops, pairs


@given(
  size=st.integers(1, 7), taps=st.integers(1, 4), stride=st.integers(1, 3), low=st.integers(-1, 3), high=st.integers(-1, 3),
  dilate=st.integers(1, 3), kernel=st.integers(1, 2),
)
def test_pairs_are_those_of_a_loop(size, taps, stride, low, high, dilate, kernel):
  length = (size - 1) * dilate + 1
  out = (length + low + high - ((taps - 1) * kernel + 1)) // stride + 1
  assume(out > 0)
  real = {low + place * dilate for place in range(size)}  # places of the image's numbers in the padded axis
  oracle = sum(at * stride + tap * kernel in real for at in range(out) for tap in range(taps))
  assert pairs(out, size, taps, stride, low, dilate, kernel) == oracle


LINES = """
HloModule m
ENTRY %main (p: f32[2,5,5,4]) -> f32[2,3,3,6] {
  %p = f32[2,5,5,4]{3,2,1,0} parameter(0)
  %k = f32[3,3,2,6]{3,2,1,0} parameter(1)
  %d = f32[7,5]{1,0} parameter(2)
  %e = f32[5,9]{1,0} parameter(3)
  %dot = f32[7,9]{1,0} dot(%d, %e), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %conv = f32[2,3,3,6]{3,2,1,0} convolution(%p, %k), window={size=3x3 stride=2x2 pad=1_1x1_1}, dim_labels=b01f_01io->b01f, feature_group_count=2
}
"""


def test_a_text_and_a_trace_agree():
  program = read_program(LINES)
  entry = program.computations[program.entry]
  image, kernel = jnp.zeros((2, 5, 5, 4)), jnp.zeros((3, 3, 2, 6))

  def conv(image, kernel):
    return lax.conv_general_dilated(image, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2)

  (eqn,) = jax.make_jaxpr(conv)(image, kernel).eqns
  # 3 places with 2, 3 and 2 taps inside the image on each axis.
  by_hand = 2 * 2 * 6 * 2 * 7 * 7
  assert product_flops(entry, entry.lines["conv"]) == by_hand == equation_flops(eqn)
  assert product_flops(entry, entry.lines["dot"]) == 2 * 7 * 9 * 5
  assert product_flops(entry, entry.lines["p"]) == 0


@pytest.mark.parametrize("transposed", ["image", "kernel"])
def test_gradients_of_a_convolution_have_as_many_products(transposed):
  image, kernel = jnp.zeros((2, 6, 6, 3)), jnp.zeros((3, 3, 3, 4))

  def conv(image, kernel):
    return lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

  (forward,) = jax.make_jaxpr(conv)(image, kernel).eqns
  argument = {"image": 0, "kernel": 1}[transposed]
  grad = jax.make_jaxpr(lambda *given: jax.vjp(conv, *given)[1](jnp.zeros((2, 3, 3, 4)))[argument])(image, kernel)
  totals = [equation_flops(eqn) for eqn in grad.eqns if eqn.primitive.name == "conv_general_dilated"]
  assert equation_flops(forward) in totals
