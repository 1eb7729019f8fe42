"""No public name without a row in the table that proves it."""

import importlib
import inspect
import pkgutil

import loss_cases
import optimizer_cases
import pytest
from cases import CASES
from errors import raises_exactly

import layerkit
from layerkit import Layer, layers, losses, optimizers, schedules
from layerkit.inspection.displays.display import Display, StepRecorder
from layerkit.layers.activations import Elementwise, FromOutput
from layerkit.layers.gated import SelfGated
from layerkit.schedules.progress import Progress


def test_every_layer_has_a_row_of_its_own():
    assert {type(case.make()).__name__ for case in CASES} == set(layers.__all__)


def test_every_loss_has_a_row():
    rows = {type(case.loss()).__name__ for case in loss_cases.CASES}
    assert rows | {"Loss"} == set(losses.__all__)


def test_every_optimizer_has_a_row():
    rows = {case.name for case in optimizer_cases.CASES}
    bases_and_batch_methods = {"Optimizer", "LBFGS"}
    assert rows | bases_and_batch_methods == set(optimizers.__all__)


def test_every_row_has_a_name_of_its_own():
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names)


def test_every_layer_is_exported():
    """A class that no other builds on is there for users: in layerkit.layers and in layerkit."""
    modules = [
        importlib.import_module(f"layerkit.layers.{module.name}")
        for module in pkgutil.iter_modules(layers.__path__)
    ]
    written = {
        kind.__name__
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Layer) and kind.__module__ == module.__name__
        if not kind.__name__.startswith("_") and not kind.__subclasses__()
    }
    assert written <= set(layers.__all__) <= set(layerkit.__all__)


LEFT_OPEN = [
    (Layer, "forward"),
    (Layer, "backward"),
    (Elementwise, "function"),
    (Elementwise, "derivative"),
    (FromOutput, "derivative_from_output"),
    (SelfGated, "gate"),
    (SelfGated, "gate_derivative"),
    (losses.Loss, "value"),
    (losses.Loss, "derivative"),
    (optimizers.Optimizer, "update"),
    (schedules.Schedule, "__call__"),
    (Progress, "shape"),
    (Display, "draw"),
    (StepRecorder, "note"),
]


HAVE_NONE = ("layerkit.optimizers", "layerkit.schedules")


@pytest.mark.parametrize(("base", "method"), LEFT_OPEN, ids=lambda v: getattr(v, "__name__", v))
def test_what_a_base_class_leaves_open_is_named_where_it_is_missing(base, method):
    left = getattr(base, method)
    arguments = len(inspect.signature(left).parameters) - 1
    word = "has" if base.__module__.startswith(HAVE_NONE) else "defines"
    with raises_exactly(NotImplementedError, f"Mine {word} no {method}"):
        left(object.__new__(type("Mine", (base,), {})), *[None] * arguments)
