"""The contract's checks catch every mistake, and find none in the layer that does not make it."""

import pytest
from mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_mistake_is_caught(mutant):
    with pytest.raises(mutant.error):
        mutant.caught_by(mutant.case(mutant.broken))


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_sound_layer_passes(mutant):
    mutant.caught_by(mutant.case(mutant.sound))
