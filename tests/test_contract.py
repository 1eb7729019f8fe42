"""Every check of the contract, on every layer of the table."""

import contract_of_objects
import contract_of_passes
import pytest
from cases import ACTIVATIONS, CASES, POOLING
from contract_of_passes import check_gradients_at_ties, check_noise_is_unbiased

CHECKS = [
    check
    for module in (contract_of_passes, contract_of_objects)
    for name, check in vars(module).items()
    if name.startswith("check_") and check.__module__ == module.__name__
]
ON_SOME_CASES = {
    check_noise_is_unbiased: [case for case in CASES if case.noise],
    check_gradients_at_ties: [*ACTIVATIONS, *POOLING],
}


def name_of(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    "check, case",
    [(check, case) for check in CHECKS for case in ON_SOME_CASES.get(check, CASES)],
    ids=name_of,
)
def test_contract(check, case):
    check(case)
