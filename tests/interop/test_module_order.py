"""The order of modules is found from any order of the file, and what could be exchanged is named."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxface.interop.file_layers import FileLayer, natural, roots
from jaxface.interop.module_order import MAX_STEPS, build_tree, find_orders
from jaxface.interop.weights import WrongWeights


def layer(name, size):
  return FileLayer(name, "norm", {}, {"mean": (size,)})


def search(layers, sizes, in_order=True):
  def accepts(found, position):
    return position < len(sizes) and found.shapes["mean"] == (sizes[position],)

  return find_orders(build_tree(layers, in_order), accepts)


@given(st.data())
def test_every_order_that_fits_is_among_those_of_the_definition(data):
  """Against all permutations of the modules and of the layers in each."""
  modules = data.draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3))
  layers = [layer(f"{'abc'[m]}.{'xyz'[i]}", size) for m, sizes in enumerate(modules) for i, size in enumerate(sizes)]
  inner = [list(itertools.permutations([one for one in layers if one.name[0] == name])) for name in "abc"[: len(modules)]]
  orders = [
    tuple(itertools.chain(*parts)) for order in itertools.permutations(inner) for parts in itertools.product(*order)
  ]
  chosen = data.draw(st.sampled_from(orders))
  size = {one.name: one.shapes["mean"][0] for one in layers}
  sizes = [size[one.name] for one in chosen]
  named = {tuple(one.name for one in order) for order in orders}
  fits = {order for order in named if [size[name] for name in order] == sizes}
  found = search(layers, sizes)
  reported = {tuple(one.name for one in order) for order in found.orders}
  assert reported and reported <= fits and len(reported) == len(found.orders)
  # More than one fits exactly where two orders are reported or modules look alike.
  assert (len(fits) > 1) == (len(found.orders) > 1 or bool(found.alike))


def test_numbers_are_an_order_and_other_names_are_the_file_s():
  numbered = [layer(f"units.{index}", 1) for index in (10, 2, 1)]
  found = search(numbered, [1, 1, 1])
  assert [one.name for one in found.orders[0]] == ["units.1", "units.2", "units.10"] and not found.alike
  assert search([layer("bn1", 1), layer("bn2", 1)], [1, 1]).alike == ((("bn1", "bn2"), True),)
  assert search([layer("bn2", 1), layer("bn1", 1)], [1, 1]).alike == ((("bn2", "bn1"), False),)
  assert search([layer("left", 1), layer("right", 1)], [1, 1]).alike == ((("left", "right"), False),)
  assert search(numbered, [1, 1, 2]).orders == ()


def test_a_search_without_end_is_refused():
  # Modules of growing size whose sums meet everywhere, before a last layer that fits nowhere.
  layers = [layer(f"m{m}.{i}", 1) for m in range(1, 25) for i in range(m)] + [layer("last", 2)]
  with pytest.raises(WrongWeights, match=f"more than {MAX_STEPS:,} orders"):
    search(layers, [1] * (len(layers) - 1) + [3])


def test_names_sort_by_their_numbers_and_prefixes_are_found():
  assert sorted(["layer10", "layer2", "layer1.10", "layer1.9"], key=natural) == ["layer1.9", "layer1.10", "layer2", "layer10"]
  layers = [layer(f"module.net.{name}", 1) for name in ("a", "b", "c")] + [layer("module.head", 1)]
  assert roots(layers)[:3] == ["", "module.", "module.net."]
