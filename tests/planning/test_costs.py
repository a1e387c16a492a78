"""Work of a compiled program: what is counted of each instruction, on lines as compilers print them."""

import pytest

from jaxface.planning.costs import loop_length, program_costs
from jaxface.planning.hlo import Piece, read_line, read_pieces, read_program

TEXT = """
HloModule jit_step, is_scheduled=true

%add.1 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused_slice (p: f32[100,8], i: s32[]) -> f32[4,8] {
  %p.1 = f32[100,8]{1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %part = f32[4,8]{1,0} dynamic-slice(%p.1, %i.1, %zero), dynamic_slice_sizes={4,8}
  ROOT %twice = f32[4,8]{1,0} add(%part, %part)
}

%fused_update (p: f32[100,8], u: f32[4,8], i: s32[]) -> f32[100,8] {
  %p.2 = f32[100,8]{1,0} parameter(0)
  %u.2 = f32[4,8]{1,0} parameter(1)
  %i.2 = s32[] parameter(2)
  %zero.2 = s32[] constant(0)
  ROOT %new = f32[100,8]{1,0} dynamic-update-slice(%p.2, %u.2, %i.2, %zero.2)
}

%body (c: (s32[], f32[4,8], f32[8,8])) -> (s32[], f32[4,8], f32[8,8]) {
  %c = (s32[], f32[4,8]{1,0}, f32[8,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%c), index=0
  %x = f32[4,8]{1,0} get-tuple-element(%c), index=1
  %w = f32[8,8]{1,0} get-tuple-element(%c), index=2
  %one = s32[] constant(1)
  %next = s32[] add(%n, %one)
  %y = f32[4,8]{1,0} dot(%x, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %r = f32[4,8]{1,0} all-reduce(%y), replica_groups={{0,1},{2,3}}, to_apply=%add.1
  ROOT %t = (s32[], f32[4,8]{1,0}, f32[8,8]{1,0}) tuple(%next, %r, %w)
}

%condition (c: (s32[], f32[4,8], f32[8,8])) -> pred[] {
  %c.2 = (s32[], f32[4,8]{1,0}, f32[8,8]{1,0}) parameter(0)
  %n.2 = s32[] get-tuple-element(%c.2), index=0
  %limit = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%n.2, %limit), direction=LT
}

ENTRY %main (p: f32[100,8], w: f32[8,8], i: s32[]) -> f32[100,8] {
  %p = f32[100,8]{1,0:T(8,128)} parameter(0)
  %w = f32[8,8]{1,0:T(8,128)} parameter(1)
  %i = s32[] parameter(2)
  %w.start = (f32[8,8]{1,0:T(8,128)S(1)}, f32[8,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%w)
  %w.near = f32[8,8]{1,0:T(8,128)S(1)} copy-done(%w.start)
  %s.start = ((f32[8,8]{1,0:T(8,128)}), f32[2,8]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%w), slice={[0:2], [0:8]}
  %s.near = f32[2,8]{1,0:T(8,128)S(1)} slice-done(%s.start)
  %rows = f32[4,8]{1,0} fusion(%p, %i), kind=kLoop, calls=%fused_slice
  %zero.3 = s32[] constant(0)
  %start = (s32[], f32[4,8]{1,0}, f32[8,8]{1,0}) tuple(%zero.3, %rows, /*index=2*/%w.near)
  %loop = (s32[], f32[4,8]{1,0}, f32[8,8]{1,0}) while(%start), condition=%condition, body=%body
  %out = f32[4,8]{1,0} get-tuple-element(%loop), index=1
  %all = (f32[4,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%out), replica_groups=[1,4]<=[4], dimensions={0}
  %all.done = f32[16,8]{1,0} all-gather-done(%all)
  ROOT %end = f32[100,8]{1,0} fusion(%p, %out, %i), kind=kLoop, calls=%fused_update
}
"""


@pytest.fixture(scope="module")
def program():
  return read_program(TEXT)


def test_lines_are_read_with_layouts_tuples_and_comments():
  line = read_line('  ROOT %t.1 = (s32[], bf16[2,3]{1,0:T(8,128)(2,1)S(1)}) tuple(%a, /*index=1*/%b-c), metadata={op_name="x(y)"}')
  assert (line.name, line.operation, line.operands, line.root) == ("t.1", "tuple", ("a", "b-c"), True)
  assert line.pieces == (Piece("s32", ()), Piece("bf16", (2, 3), True)) and line.pieces[1].nbytes == 12
  assert [piece.nbytes for piece in read_pieces("(pred[3], f8e4m3fn[5], s4[8], token[], c64[2])")] == [3, 5, 4, 0, 16]
  assert read_line("}") is None and read_line("%main (a: f32[2]) -> f32[2] {") is None
  with pytest.raises(ValueError, match="ENTRY"):
    read_program("nothing")


def test_bytes_and_operations_by_hand(program):
  works = {one.name: one for one in program_costs(program).work}
  row = 4 * 8 * 4
  assert works["w.start"].nbytes == 8 * 8 * 4  # read once; its copy is on the chip
  assert works["s.start"].nbytes == 2 * 8 * 4  # not the whole array
  assert works["rows"].nbytes == 2 * row + 4  # the part of the array, the result, the index
  assert works["end"].nbytes == 2 * row + 4  # in place
  assert (works["y"].flops, works["y"].times) == (2 * 4 * 8 * 8, 5)
  assert works["y"].nbytes == 2 * row + 8 * 8 * 4
  assert not {"p", "out", "w.near", "s.near", "all.done"} & set(works)


def test_loops_count_as_often_as_they_run(program):
  costs = program_costs(program)
  assert costs.flops == 5 * 2 * 4 * 8 * 8 and costs.unknown_loops == 0
  loop = program.computations["main"].lines["loop"]
  assert loop_length(program, loop) == 5
  open_ended = read_program(TEXT.replace("constant(5)", "parameter(1)"))
  assert loop_length(open_ended, open_ended.computations["main"].lines["loop"]) is None
  assert program_costs(open_ended).unknown_loops == 1
  noted = read_program(TEXT.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}'))
  assert program_costs(noted).flops == 7 * 2 * 4 * 8 * 8


def test_collectives_have_their_result_devices_and_number(program):
  found = [(work.times, one.kind, one.shape, one.members) for work in program_costs(program).work for one in work.exchanged]
  assert found == [(5, "all-reduce", (4, 8), 2), (1, "all-gather", (16, 8), 4)]


SCATTERED = """
HloModule jit_step, is_scheduled=true

%replace (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %b = f32[] parameter(1)
}

%fused_scatter (p: f32[100,8], i: s32[3], u: f32[3,8]) -> f32[100,8] {
  %p.1 = f32[100,8]{1,0} parameter(0)
  %i.1 = s32[3]{0} parameter(1)
  %u.1 = f32[3,8]{1,0} parameter(2)
  %flat = s32[3]{0} reshape(%i.1)
  ROOT %new = f32[100,8]{1,0} scatter(%p.1, %flat, %u.1), update_window_dims={1}, to_apply=%replace
}

ENTRY %main (p: f32[100,8], i: s32[3], u: f32[3,8]) -> f32[100,8] {
  %p = f32[100,8]{1,0} parameter(0)
  %i = s32[3]{0} parameter(1)
  %u = f32[3,8]{1,0} parameter(2)
  ROOT %end = f32[100,8]{1,0} fusion(%p, %i, %u), kind=kCustom, calls=%fused_scatter
}
"""


def test_a_fused_scatter_counts_its_rows_not_the_array():
  (work,) = program_costs(read_program(SCATTERED)).work
  assert work.nbytes == 3 * (3 * 8 * 4) + 3 * 4  # rows are read, written, and given; the indices
