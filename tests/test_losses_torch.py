"""Losses and their gradients against PyTorch, in float64."""

import pytest
from loss_cases import CASES, LossCase
from loss_contract import check_reference

torch = pytest.importorskip("torch")

IN_TORCH = {
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "CosineSimilarity",
    "GaussianNLL",
    "Huber",
    "KLDivergence",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MultiMargin",
    "NegativeLogLikelihood",
    "Poisson",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradient_equal_pytorch(case: LossCase):
    """PyTorch's own loss where it has it; elsewhere its autograd of the formula."""
    check_reference(case.loss(), case)


def test_pytorchs_own_losses_are_the_reference_where_it_has_them():
    assert {type(case.loss()).__name__ for case in CASES if case.in_torch} == IN_TORCH
