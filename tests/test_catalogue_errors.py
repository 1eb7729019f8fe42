"""Planted errors: the catalogue is red as soon as a formula or the code is wrong."""

import ast
import copy
import dataclasses
import re

import numpy as np
import pytest

from layerkit import (
    ELU,
    GELU,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
)
from layerkit.inspection import gradient_catalogue
from layerkit.inspection.catalogue.entry import COMPLEX, FORMULAS, KINKS, RANGES, SYMPY, TORCH
from layerkit.inspection.catalogue.record import attempt
from layerkit.losses import (
    CategoricalCrossEntropy,
    GaussianNLL,
    Hinge,
    Huber,
    MeanSquaredError,
    Poisson,
)

CATALOGUE = gradient_catalogue()


def changed(name, old, new, field="formulas"):
    """An entry in which something that is written has been changed."""
    entry = CATALOGUE[name]
    before = getattr(entry, field)
    assert old in before, f"{old!r} is not in {before!r}"
    return dataclasses.replace(entry, **{field: before.replace(old, new)})


def failed(entry):
    return {check.method for check in entry.record.failures}


# ---------------------------------------------------------------- planted errors: what is written

WRONG_FORMULAS = [
    ("Sigmoid", "dy/dx = y * (1 - y)", "dy/dx = y * (1 + y)", {FORMULAS, SYMPY}),
    ("Sigmoid", "dL/dx = G * y * (1 - y)", "dL/dx = y * (1 - y)", {FORMULAS}),
    ("Sigmoid", "exp(-x)", "exp(x)", {FORMULAS, SYMPY}),
    ("ELU", "alpha * (exp(x) - 1)", "alpha * exp(x) - 1", {FORMULAS, SYMPY}),
    ("ELU", "dy/dx = 1 if x > 0 else alpha *", "dy/dx = 1 if x > 0 else", {FORMULAS, SYMPY}),
    ("GELU", "sqrt(2 * pi)", "sqrt(pi)", {FORMULAS, SYMPY}),
    ("GELU(approximate=True)", "1 + 3 * 0.044715", "1 + 0.044715", {FORMULAS, SYMPY}),
    ("GELU(approximate=True)", "0.044715", "0.0044715", {FORMULAS, SYMPY}),
    ("Tanh", "dy/dx = 1 - y**2", "dy/dx = 1 - y", {FORMULAS, SYMPY}),
    ("ReLU", "dy/dx = 1 if x > 0", "dy/dx = 1 if x >= 0", {FORMULAS}),  # at the kink
    ("Softmax", "G[n, i] - sum[j](G[n, j] * y[n, j])", "G[n, i]", {FORMULAS}),
    ("Dense", "G @ W.T", "G @ W", {FORMULAS}),
    ("Dense", "dL/dW = x.T @ G", "dL/dW = G.T @ x", {FORMULAS}),
    ("Dense", "dL/db[j] = sum[n](G[n, j])", "dL/db[j] = mean[n](G[n, j])", {FORMULAS}),
    ("BatchNorm", "dL/dx = gamma /", "dL/dx = 1 /", {FORMULAS}),
    ("BatchNorm", "- x_hat / m * (dL/dgamma)", "- x_hat * (dL/dgamma)", {FORMULAS}),
    ("Conv2D", "sum[n, p, q](x[n, s*p + d*i - P", "sum[n, p, q](x[n, s*p + d*i + P", {FORMULAS}),
    ("LayerNorm", "- mean[k](g[n, k])", "", {FORMULAS}),
    ("Dropout", "dL/dx = G * m / (1 - rate)", "dL/dx = G * m", {FORMULAS}),
    ("Residual", "sum[j](G[n, j] * J1[n, j, i]) +", "", {FORMULAS}),
    ("MeanSquaredError", "dv/dy_pred = 2 *", "dv/dy_pred = 1 *", {FORMULAS, SYMPY}),
    ("CategoricalCrossEntropy", "v[n] = -sum", "v[n] = sum", {FORMULAS, SYMPY}),
    ("BinaryCrossEntropy", "- q * t * (1 - p)", "- t * (1 - p)", {FORMULAS, SYMPY}),
    ("Focal", "/ (1 - p[n, k]) - 1", "/ (1 - p[n, k])", {FORMULAS, SYMPY}),
    ("Huber", "delta / 2", "delta", {FORMULAS, SYMPY}),
]


@pytest.mark.parametrize(("name", "old", "new", "caught_by"), WRONG_FORMULAS)
def test_a_wrong_formula_turns_its_record_red(name, old, new, caught_by):
    if SYMPY in caught_by:
        pytest.importorskip("sympy")
    entry = changed(name, old, new)
    assert not entry.ok
    assert failed(entry) >= caught_by
    assert "WRONG" in str(entry)


def test_a_loss_without_its_mean_turns_red():
    for old in ("m * ", " / (m * sum(w))"):
        assert failed(changed("MeanSquaredError", old, "", "reduction")) == {FORMULAS}


def test_a_wrong_formula_for_inference_turns_red():
    wrong = changed("BatchNorm", "dL/dx = G * gamma", "dL/dx = G", "inference")
    assert failed(wrong) >= {FORMULAS}


def test_a_gradient_without_a_formula_turns_red():
    entry = changed("Dense", "dL/db[j] = sum[n](G[n, j])", "")
    assert "no formula for dL/db" in str(entry.record)


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("Sigmoid", {"dy/dx": "(0, 1/3]"}),
        ("Sigmoid", {"dy/dx": "(0, 1/5]"}),
        ("Tanh", {"y": "(0, 1)"}),
        ("ReLU", {"dy/dx": "{0, 1, 2}"}),
        ("GELU", {"y": "[-0.16, inf)"}),
        ("Softmax", {"dy/dx": "[-1/4, 1]"}),
        ("Huber", {"dv/dy_pred": "[-1, 1]"}),
    ],
)
def test_a_wrong_range_turns_red(name, ranges):
    assert failed(dataclasses.replace(CATALOGUE[name], ranges=ranges)) == {RANGES}


@pytest.mark.parametrize("kinks", [(1,), (0, 2)])
def test_a_kink_where_there_is_none_turns_red(kinks):
    assert KINKS in failed(dataclasses.replace(CATALOGUE["ReLU"], kinks=kinks))


def test_another_function_in_torch_turns_red():
    pytest.importorskip("torch")
    entry = dataclasses.replace(CATALOGUE["GELU"], torch="F.gelu(x, approximate='tanh')")
    assert failed(entry) == {TORCH}


def mutants(line):
    """Each formula that differs from this one in one operator, number or sign."""
    left, _, right = line.partition(" = ")
    tree = ast.parse(right, mode="eval")
    swaps = {
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
        ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.Eq: ast.Lt,
    }  # fmt: skip
    for k, node in enumerate(ast.walk(tree)):
        mutant = copy.deepcopy(tree)
        twin = list(ast.walk(mutant))[k]
        match node:
            case ast.BinOp(left=above, op=op) if type(op) in swaps:
                if re.match(r"d[Lvy]\b", ast.unparse(above)):
                    continue  # a derivative, no quotient
                twin.op = swaps[type(op)]()
            case ast.Compare(ops=[op, *_]):
                twin.ops[0] = swaps[type(op)]()
            case ast.Constant():
                twin.value += 1
            case ast.UnaryOp():
                twin.operand = ast.UnaryOp(ast.USub(), twin.operand)
            case _:
                continue
        yield f"{left} = {ast.unparse(mutant)}"


EQUIVALENT = {  # both branches agree where the condition changes; y_true is 1 or -1
    "y = x if x >= 0 else a * x",
    "y = x if x >= 0 else negative_slope * x",
    "y = x if x >= 0 else alpha * (exp(x) - 1)",
    "y = lam * x if x >= 0 else lam * alpha * (exp(x) - 1)",
    "v = e ** 2 / 2 if abs(e) < delta else delta * (abs(e) - delta / 2)",
    "dv/dy_pred = -2 / y_true * max(1 - y_true * y_pred, 0)",
    # no row lies on the edge of a bin
    "s[n, j, k] = inverse[j, k] * [u[n, j, k] > 0] * [u[n, j, k] <= 1]",
    "s[n, j, k] = inverse[j, k] * [u[n, j, k] >= 0] * [u[n, j, k] < 1]",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_mutant_of_a_formula_turns_red(name):
    entry = CATALOGUE[name]
    unseen = []
    for field in ("formulas", "inference"):
        lines = [line.text for line in (entry.lines if field == "formulas" else ())]
        lines = lines or [line.text for line in entry.inference_lines]
        if field == "formulas" and hasattr(entry, "reduction"):
            lines = lines[:-2]
        for k, line in enumerate(lines):
            for mutant in mutants(line):
                block = "\n".join([*lines[:k], mutant, *lines[k + 1 :]])
                wrong = dataclasses.replace(entry, **{field: block})
                check = attempt(FORMULAS, dict(wrong._checks())[FORMULAS])
                if check.ok and wrong.ok:
                    unseen.append(mutant)
    assert set(unseen) <= EQUIVALENT


# ---------------------------------------------------------------- planted errors: the code


def no_bias_gradient(backward):
    def broken(self, grad_output):
        grad_input = backward(self, grad_output)
        self.grads["b"][...] = 0
        return grad_input

    return broken


def scaled(factor):
    return lambda backward: lambda self, *grad: factor * backward(self, *grad)


def without_gamma(backward):
    return lambda self, grad: backward(self, grad) / self.params["gamma"]


def transposed_weights(backward):
    def broken(self, grad_output):
        grad_input = backward(self, grad_output)
        self.grads["W"][...] = self.grads["W"].swapaxes(0, 1).reshape(self.grads["W"].shape)
        return grad_input

    return broken


WRONG_CODE = [
    (Sigmoid, "derivative_from_output", lambda f: lambda self, y: y * (1 + y)),
    (Sigmoid, "function", lambda f: lambda self, x: 1 / (1 + np.exp(-1.001 * x))),
    (Sigmoid, "backward", scaled(0.5)),
    (ReLU, "derivative_from_output", lambda f: lambda self, y: np.ones_like(y)),
    (ELU, "derivative_from_output", lambda f: lambda self, y: np.where(y > 0, 1, y + 1)),
    (GELU, "gate_derivative", lambda f: lambda self, x, s: 1.01 * f(self, x, s)),
    (Softmax, "backward", lambda f: lambda self, grad: self.cache * grad),
    (Dense, "backward", no_bias_gradient),
    (Dense, "backward", scaled(0.5)),
    (Conv2D, "backward", transposed_weights),
    (BatchNorm, "backward", without_gamma),
    (Dropout, "backward", lambda f: lambda self, grad: grad),
    (MaxPool2D, "backward", scaled(2)),
    (Residual, "backward", lambda f: lambda self, grad: self.body.backward(grad)),
    (Embedding, "backward", transposed_weights),
    (MeanSquaredError, "derivative", scaled(0.5)),
    (MeanSquaredError, "backward", scaled(2)),
    (CategoricalCrossEntropy, "derivative", scaled(-1)),
    (Huber, "value", scaled(2)),
    (Hinge, "derivative", lambda f: lambda self, p, t: -t),
    (Poisson, "derivative", lambda f: lambda self, p, t: p - t),
]


@pytest.mark.parametrize(
    ("subject", "method", "breaks"),
    WRONG_CODE,
    ids=[f"{subject.__name__}-{method}" for subject, method, _ in WRONG_CODE],
)
def test_wrong_code_turns_its_record_red(monkeypatch, subject, method, breaks):
    monkeypatch.setattr(subject, method, breaks(getattr(subject, method)))
    entry = gradient_catalogue()[subject.__name__]
    assert not entry.ok
    assert FORMULAS in failed(entry)


TWICE = [
    (MeanSquaredError, "value", scaled(2), "the code's derivative"),
    (MeanSquaredError, "derivative", scaled(2), "the formula's derivative"),
    (MeanSquaredError, "backward", scaled(2), None),
    (GaussianNLL, "value", scaled(2), "the code's derivative"),
    (GaussianNLL, "derivative", scaled(2), "the formula's derivative"),
    (Sigmoid, "function", lambda f: lambda self, x: 2 * f(x), "derivative"),
    (Tanh, "function", lambda f: lambda self, x: 2 * f(x), "derivative"),
    (Sigmoid, "derivative_from_output", scaled(2), "derivative"),
    (Tanh, "derivative_from_output", scaled(2), "derivative"),
    (Sigmoid, "backward", scaled(2), None),
]


@pytest.mark.parametrize(
    ("subject", "method", "breaks", "where"),
    TWICE,
    ids=[f"{subject.__name__}-{method}" for subject, method, *_ in TWICE],
)
def test_a_complex_step_sees_the_function_and_its_derivative_each(
    monkeypatch, subject, method, breaks, where
):
    """A function that is twice too large is seen in the code, a derivative beside its formula."""
    monkeypatch.setattr(subject, method, breaks(getattr(subject, method)))
    record = gradient_catalogue()[subject.__name__].record
    (check,) = (check for check in record.checks if check.method == COMPLEX)
    if where is None:
        assert (check.ok, check.note) == (True, "of the formula and of the code")
    else:
        assert (check.ok, check.note) == (False, where)
        assert check.error > 0.4


@pytest.mark.slow  # verifies every entry
def test_one_red_entry_makes_the_catalogue_red(monkeypatch):
    monkeypatch.setattr(Sigmoid, "derivative_from_output", lambda self, y: y)
    catalogue = gradient_catalogue()
    assert not catalogue and not catalogue.ok
    assert [entry.name for entry in catalogue.failures] == ["Sigmoid"]
    assert "1 WRONG" in str(catalogue) and "✗ WRONG" in catalogue._repr_html_()


def test_a_record_belongs_to_its_catalogue(monkeypatch):
    before = gradient_catalogue()["Sigmoid"]
    assert before.ok
    monkeypatch.setattr(Sigmoid, "derivative_from_output", lambda self, y: y)
    assert before.ok  # computed while it was right
    assert not gradient_catalogue()["Sigmoid"].ok
