"""Where randomness comes from: any kind of random state as a seed, and seeds as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerkit.parameters import is_size


def as_seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """Turn any common kind of random state into a root of independent streams."""
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**32, size=4).tolist())
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(random_state.randint(2**31, size=4).tolist())
    if random_state is None or is_size(random_state, least=0):
        return np.random.SeedSequence(random_state)
    raise ValueError(
        "random_state must be None, a non-negative integer, a numpy Generator, RandomState or "
        f"SeedSequence, got {random_state!r}"
    )


def with_plain_seed(state: dict[str, Any]) -> dict[str, Any]:
    """Write an object's seed as numbers: skops stores those, but not what a SeedSequence holds."""
    seed = state.get("_seed")
    if seed is None:
        return state
    return state | {"_seed": (seed.entropy, seed.spawn_key, seed.n_children_spawned)}


def with_seed(state: dict[str, Any]) -> dict[str, Any]:
    """Undo `with_plain_seed`."""
    if type(state.get("_seed")) is not tuple:
        return state
    entropy, spawn_key, n_spawned = state["_seed"]
    seed = np.random.SeedSequence(entropy, spawn_key=spawn_key, n_children_spawned=n_spawned)
    return state | {"_seed": seed}
