"""What ``verbose`` shows while a network is trained."""

from __future__ import annotations

from layerkit.training.run import TrainingState

_SHOWN = ("loss", "validation_loss", "validation_score")


class Progress:
    """A bar over all steps with tqdm, a line for every epoch without."""

    keeps_data = True

    def __init__(self, state: TrainingState, batches: int) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            self.bar = None
        else:
            self.batches = batches
            total, done = state.epochs * batches or None, state.epoch * batches
            self.bar = tqdm(total=total, initial=done, unit="batch", dynamic_ncols=True)

    def advance(self, batches: int) -> None:
        if self.bar is not None:
            self.bar.update(batches)

    def __call__(self, state: TrainingState) -> None:
        row = state.history.rows[-1]
        shown = {name: f"{row[name]:.4g}" for name in _SHOWN if name in row}
        if self.bar is None:
            print(f"epoch {state.epoch}/{state.epochs}", *(f"{k} {v}" for k, v in shown.items()))
        else:
            if self.batches:  # those without weight are left out, and L-BFGS takes all at once
                self.bar.update(state.epoch * self.batches - self.bar.n)
            self.bar.set_description(f"epoch {state.epoch}/{state.epochs}", refresh=False)
            self.bar.set_postfix(shown)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
