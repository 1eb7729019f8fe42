"""The contract's checks catch every mistake, and find none in the layer that does not make it."""

from collections.abc import Callable
from dataclasses import dataclass

import mutants
import pytest
from cases import Case, Sampler, ids, standard_normal
from contract_of_objects import (
    check_clone,
    check_deepcopy,
    check_frozen,
    check_pickle,
    check_pickle_does_not_grow,
    check_seeds,
)
from contract_of_passes import (
    check_arguments_are_untouched,
    check_backward_follows_the_last_forward,
    check_backward_ignores_later_buffers,
    check_dtypes_of_inputs,
    check_gradients_at_ties,
    check_gradients_in_both_modes,
    check_infer_is_forward,
    check_infer_leaves_no_trace,
    check_inference_keeps_buffers,
    check_memory_layouts,
    check_noise_is_unbiased,
    check_nothing_accumulates,
    check_one_dtype_throughout,
    check_results_are_kept,
    check_samples_are_independent,
    check_shapes,
    check_smallest_batches,
    check_without_input_grad,
)

import layerkit.layers as nn
from layerkit import Layer
from layerkit.shapes import Shape


@dataclass(frozen=True)
class Mutant:
    """A layer with a mistake, and the check of the contract that notices."""

    broken: type[Layer]
    arguments: tuple
    input_shape: Shape
    caught_by: Callable[[Case], None]
    sampler: Sampler = standard_normal
    error: type[Exception] = AssertionError

    def __str__(self) -> str:
        return self.broken.__name__

    @property
    def sound(self) -> type[Layer]:
        """The layer of ours that the broken one derives from."""
        return next(c for c in self.broken.__mro__ if c.__module__.startswith("layerkit"))

    def case(self, kind: type[Layer]) -> Case:
        return Case(kind.__name__, lambda: kind(*self.arguments), self.input_shape, self.sampler)


MUTANTS = [
    Mutant(mutants.BiasForgotten, (3,), (4,), check_gradients_in_both_modes),
    Mutant(mutants.GradientNotWritten, (3,), (4,), check_gradients_in_both_modes),
    Mutant(mutants.MeanForSum, (3,), (4,), check_gradients_in_both_modes),
    Mutant(mutants.GradientRebound, (3,), (4,), check_gradients_in_both_modes),
    Mutant(mutants.Accumulating, (3,), (4,), check_nothing_accumulates),
    Mutant(mutants.NoInputGradientNoGradients, (3,), (4,), check_without_input_grad),
    Mutant(mutants.InDoublePrecision, (3,), (4,), check_one_dtype_throughout),
    Mutant(mutants.EmptyBatchForgotten, (3,), (4,), check_smallest_batches),
    Mutant(mutants.OutputLikeInput, (3,), (4,), check_dtypes_of_inputs),
    Mutant(mutants.HyperParameterChanged, (0.1,), (4,), check_clone),
    Mutant(mutants.FirstInputKept, (), (4,), check_backward_follows_the_last_forward),
    Mutant(mutants.InputMutated, (), (4,), check_arguments_are_untouched),
    Mutant(mutants.GradOutputMutated, (), (4,), check_arguments_are_untouched),
    Mutant(mutants.BufferReused, (), (4,), check_results_are_kept),
    Mutant(mutants.MemoryOrder, (), (2, 3), check_memory_layouts),
    Mutant(mutants.ActivationsPickled, (), (4,), check_pickle_does_not_grow),
    Mutant(mutants.SharedAfterDeepcopy, (3,), (4,), check_deepcopy),
    Mutant(mutants.BuffersNotPickled, (), (4,), check_pickle, error=KeyError),
    Mutant(mutants.InferRounds, (3,), (4,), check_infer_is_forward),
    Mutant(mutants.InferLeavesCache, (3,), (4,), check_infer_leaves_no_trace),
    Mutant(mutants.WithoutRescale, (0.5,), (6,), check_noise_is_unbiased),
    Mutant(mutants.FreshMaskInBackward, (0.5,), (6,), check_gradients_in_both_modes),
    Mutant(mutants.NoiseInInference, (0.5,), (6,), check_samples_are_independent),
    Mutant(mutants.GlobalRandomState, (0.5,), (6,), check_seeds),
    Mutant(mutants.TrainingGradientInInference, (), (4,), check_gradients_in_both_modes),
    Mutant(mutants.InferenceGradientInTraining, (), (4,), check_gradients_in_both_modes),
    Mutant(mutants.StatisticsOfTheBatch, (), (3, 2), check_samples_are_independent),
    Mutant(mutants.StatisticsMoveInInference, (), (4,), check_inference_keeps_buffers),
    Mutant(mutants.StatisticsMoveWhenFrozen, (), (4,), check_frozen),
    Mutant(mutants.StatisticsByReference, (), (4,), check_backward_ignores_later_buffers),
    Mutant(mutants.MeanTermForgotten, (), (4,), check_gradients_in_both_modes),
    Mutant(mutants.KernelGradientTransposed, (2, 3), (4, 4, 2), check_gradients_in_both_modes),
    Mutant(mutants.KernelNotFlipped, (2, 3), (4, 4, 2), check_gradients_in_both_modes),
    Mutant(mutants.PaddingOffByOne, (1,), (2, 3, 2), check_shapes, error=ValueError),
    Mutant(mutants.CroppedOffByOne, (1,), (2, 3, 2), check_gradients_in_both_modes),
    Mutant(mutants.MaximumToAllCells, (2,), (4, 4, 2), check_gradients_in_both_modes),
    Mutant(mutants.MaximumToAllTies, (2,), (4, 4, 2), check_gradients_at_ties),
    Mutant(mutants.DiagonalOnly, (), (4,), check_gradients_in_both_modes),
    Mutant(mutants.RepeatedIdsDropped, (5, 2), (4,), check_gradients_in_both_modes, sampler=ids),
    Mutant(mutants.ScoresNotScaled, (1,), (3, 4), check_gradients_in_both_modes),
    Mutant(mutants.SoftmaxOfAttentionForgotten, (2,), (3, 4), check_gradients_in_both_modes),
    Mutant(mutants.LooksAhead, (2,), (3, 4), check_gradients_in_both_modes),
    Mutant(mutants.LooksAcrossRows, (2,), (3, 4), check_samples_are_independent),
    Mutant(mutants.PlacesOfTheBatch, (), (3, 4), check_samples_are_independent),
    Mutant(mutants.FirstRowOfPlaces, (3,), (3, 4), check_gradients_in_both_modes),
    Mutant(mutants.AroundAttentionForgotten, (2, 3), (3, 4), check_gradients_in_both_modes),
    Mutant(mutants.ShortcutForgotten, (nn.Tanh(),), (4,), check_gradients_in_both_modes),
    Mutant(mutants.GateTakenForConstant, (nn.Tanh(),), (4,), check_gradients_in_both_modes),
    Mutant(mutants.LastBranchOnly, ([nn.ReLU(), nn.Tanh()],), (4,), check_gradients_in_both_modes),
    Mutant(mutants.ScaleOfTheFirstRow, (), (4,), check_gradients_in_both_modes),
    Mutant(mutants.FactorForgotten, (3,), (4,), check_gradients_in_both_modes),
    Mutant(mutants.NumberItselfForgotten, (), (3,), check_gradients_in_both_modes),
    Mutant(mutants.FrequencyWithoutTwoPi, (), (3,), check_gradients_in_both_modes),
    Mutant(mutants.SlopeOutsideOfBins, (2,), (3,), check_gradients_in_both_modes),
    Mutant(mutants.StrengthOfTheOutput, (nn.SELU(),), (3,), check_gradients_in_both_modes),
    Mutant(mutants.OneMemberOnly, (2,), (4,), check_gradients_in_both_modes),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_mistake_is_caught(mutant):
    with pytest.raises(mutant.error):
        mutant.caught_by(mutant.case(mutant.broken))


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_sound_layer_passes(mutant):
    mutant.caught_by(mutant.case(mutant.sound))


def test_every_mutant_is_in_the_table():
    written = {kind for kind in vars(mutants).values() if isinstance(kind, type)}
    assert {mutant.broken for mutant in MUTANTS} == {
        kind for kind in written if not kind.__subclasses__() and kind.__module__ == "mutants"
    }
