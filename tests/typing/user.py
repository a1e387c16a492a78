"""A user's file, which `make lint` type-checks: public names have types, and a wrong use is found."""

from typing import assert_type

import numpy as np

import jaxface
from jaxface import evaluation, inference, losses, models, testing, training

model = jaxface.load("runs/mine")
assert_type(model, inference.Model)
assert_type(model.embed("MY_FACES"), np.ndarray)
assert_type(model.input_size, tuple[int, int])
result = jaxface.verify(model.embed_named("MY_FACES"), "pairs.txt")
assert_type(result, evaluation.Verification)
assert_type(result.accuracy, float)

margin: losses.Margin = losses.ArcFace(m=0.3)
term: losses.Term = losses.TripletLoss()
experiment = training.Experiment(steps=10, terms=(term,))
assert_type(models.list_models(), list[str])
loss = testing.from_term(term)

jaxface.load(3)  # type: ignore[arg-type]
losses.ArcFace(margin=0.3)  # type: ignore[call-arg]
jaxface.nothing_such  # type: ignore[attr-defined]  # noqa: B018
