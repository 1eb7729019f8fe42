"""Every check of the contract, on every layer of the table."""

import contract
import pytest
from cases import ACTIVATIONS, CASES, POOLING

CHECKS = [
    contract.check_shapes,
    contract.check_gradients_in_both_modes,
    contract.check_backward_follows_the_last_forward,
    contract.check_backward_ignores_later_buffers,
    contract.check_nothing_accumulates,
    contract.check_arguments_are_untouched,
    contract.check_results_are_kept,
    contract.check_memory_layouts,
    contract.check_dtypes_of_inputs,
    contract.check_one_dtype_throughout,
    contract.check_float32_agrees_with_float64,
    contract.check_samples_are_independent,
    contract.check_smallest_batches,
    contract.check_infer_is_forward,
    contract.check_infer_leaves_no_trace,
    contract.check_infer_from_many_threads,
    contract.check_inference_keeps_buffers,
    contract.check_backward_needs_forward,
    contract.check_wrong_shapes_are_named,
    contract.check_deepcopy,
    contract.check_pickle,
    contract.check_joblib_file,
    contract.check_pickle_does_not_grow,
    contract.check_worker_process,
    contract.check_clone,
    contract.check_params_round_trip,
    contract.check_repr_is_code,
    contract.check_seeds,
    contract.check_views_cover_vectors,
    contract.check_rebuild_must_be_asked_for,
    contract.check_failed_build_changes_nothing,
    contract.check_one_instance_one_place,
    contract.check_frozen,
    contract.check_inside_containers,
    contract.check_without_input_grad,
    contract.check_summary,
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check, case):
    check(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.noise], ids=str)
def test_noise_is_unbiased(case):
    contract.check_noise_is_unbiased(case)


@pytest.mark.parametrize("case", [*ACTIVATIONS, *POOLING], ids=str)
def test_gradients_at_ties(case):
    contract.check_gradients_at_ties(case)


def test_every_check_is_run():
    written = {name for name in vars(contract) if name.startswith("check_")} - {"check_gradients"}
    swept = {check.__name__ for check in CHECKS}
    assert written == swept | {"check_noise_is_unbiased", "check_gradients_at_ties"}
