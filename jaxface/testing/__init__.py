"""Laws and data for property tests of your own losses; needs hypothesis (`pip install "jaxface[testing]"`).

  from jaxface import testing

  def my_loss(embedding_bd, label_b, weight_b): ...    # -> [B], the loss of each row

  testing.check_loss(my_loss)                          # every law, on random batches and edge cases

  @given(batch=testing.batches())                      # or a single law
  def test_order_does_not_matter(batch):
    testing.permutation(my_loss, batch)

A term of an objective becomes such a function by `testing.from_term(MyTerm(), ...)`. Laws raise AssertionError with the law and
the row.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
