"""What is read from the text of a compiled program, on lines as compilers print them."""

import pytest

from jaxface.training.collectives import Exchanged, collectives, largest_shape

TEXT = """
  %a = f32[64,24]{1,0} all-gather(%x), replica_groups={{0,1,2,3}}, dimensions={0}
  %b = (f32[8,3]{1,0}, s32[]) all-reduce-start(%y, %z), replica_groups=[2,8]<=[16]
  %c = bf16[2,5]{1,0} reduce-scatter(%w), replica_groups=mesh['data'=4,'model'=2] {'data'}
  %d = pred[7]{0} all-to-all(%v)
  ROOT %e = f32[100,100]{1,0} add(%a, %b)
"""


def test_each_exchanged_array_has_its_kind_shape_members_and_bytes():
  found = collectives(TEXT)
  assert found == [
    Exchanged("all-gather", "f32", (64, 24), 4), Exchanged("all-reduce", "f32", (8, 3), 8), Exchanged("all-reduce", "s32", (), 8),
    Exchanged("reduce-scatter", "bf16", (2, 5), 4), Exchanged("all-to-all", "pred", (7,), None),
  ]
  assert [one.nbytes for one in found] == [64 * 24 * 4, 96, 4, 20, 7]


@pytest.mark.parametrize(("text", "shape"), [(TEXT, (100, 100)), ("%a = f32[] constant(0)", ())])
def test_the_largest_array(text, shape):
  assert largest_shape(text) == shape
