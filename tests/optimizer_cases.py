"""One row for every optimizer: options to try, its twin in PyTorch, its first step by hand."""

from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from layerkit import optimizers


@dataclass
class OptimizerCase:
    """`name` with its defaults, and with each of `options`.

    The names of PyTorch's options are ours, save those in `renamed`. `first` is where a parameter
    at 1 lands after one step along the gradient 0.5, with the defaults.
    """

    name: str
    first: float
    torch_name: str | None
    options: list[dict[str, Any]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    fast: dict[str, Any] = field(default_factory=dict)  # options that suit the test functions

    def make(self, **options):
        return getattr(optimizers, self.name)(**options)

    def make_torch(self, parameters, **options):
        import torch

        names = {"learning_rate": "lr", **self.renamed}
        options = {names.get(name, name): value for name, value in options.items()}
        # PyTorch's default rate of SGD is 0.001, API.md's is 0.01
        if self.name == "SGD":
            options.setdefault("lr", 0.01)
        return getattr(torch.optim, self.torch_name)(parameters, **options)


mu_1, mu_2 = (0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (1, 2))

CASES = [
    OptimizerCase(
        "SGD",
        1 - 0.01 * 0.5,
        "SGD",
        [
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"momentum": 0.9},
            {"momentum": 0.8, "nesterov": True},
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ],
        fast={"learning_rate": 0.02, "momentum": 0.9},
    ),
    OptimizerCase(
        "Adam",
        1 - 0.001 * 0.5 / (0.5 + 1e-8),
        "Adam",
        [
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"betas": (0.7, 0.9), "eps": 0.1},
            {"betas": (0.0, 0.0)},
        ],
        fast={"learning_rate": 0.1},
    ),
    OptimizerCase(
        "AdamW",
        1 - 0.001 * 0.01 - 0.001 * 0.5 / (0.5 + 1e-8),
        "AdamW",
        [{"learning_rate": 0.1, "weight_decay": 0.2}, {"betas": (0.7, 0.9), "eps": 0.1}],
        fast={"learning_rate": 0.1, "weight_decay": 0.0},
    ),
    OptimizerCase(
        "NAdam",
        1 - 0.002 * (mu_2 * 0.05 / (1 - mu_1 * mu_2) + 0.5) / (0.5 + 1e-8),
        "NAdam",
        [
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"betas": (0.7, 0.9), "eps": 0.1, "momentum_decay": 0.1},
            {"betas": (0.0, 0.5)},
        ],
        fast={"learning_rate": 0.1},
    ),
    OptimizerCase(
        "RAdam",
        1 - 0.001 * 0.5,
        "RAdam",
        [
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"betas": (0.7, 0.9), "eps": 0.1},
            {"betas": (0.0, 0.5)},
        ],
        fast={"learning_rate": 0.1},
    ),
    OptimizerCase(
        "Adamax",
        1 - 0.002 * 0.5 / (0.5 + 1e-8),
        "Adamax",
        [{"learning_rate": 0.1, "weight_decay": 0.1}, {"betas": (0.7, 0.8), "eps": 0.1}],
        fast={"learning_rate": 0.1},
    ),
    OptimizerCase(
        "RMSProp",
        1 - 0.01 * 0.5 / (sqrt(0.01 * 0.25) + 1e-8),
        "RMSprop",
        [
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"rho": 0.7, "eps": 0.1, "momentum": 0.8},
            {"centered": True},
            {"centered": True, "momentum": 0.5, "weight_decay": 0.1},
        ],
        renamed={"rho": "alpha"},
        fast={"learning_rate": 0.005, "rho": 0.9},
    ),
    OptimizerCase(
        "Adagrad",
        1 - 0.01 * 0.5 / (0.5 + 1e-10),
        "Adagrad",
        [{"learning_rate": 0.1, "weight_decay": 0.1}, {"eps": 0.1}],
        fast={"learning_rate": 0.5},
    ),
    OptimizerCase(
        "Adadelta",
        1 - 0.5 * sqrt(1e-6) / sqrt(0.1 * 0.25 + 1e-6),
        "Adadelta",
        [{"learning_rate": 0.5, "weight_decay": 0.1}, {"rho": 0.7, "eps": 0.01}],
        fast={"eps": 1e-4},
    ),
    OptimizerCase(
        "Lion",
        1 - 1e-4,
        None,  # its oracle is the paper, transcribed in the test
        [{"learning_rate": 0.1, "weight_decay": 0.1}, {"betas": (0.5, 0.7)}],
        fast={"learning_rate": 0.005},
    ),
    OptimizerCase(
        "Rprop",
        1 - 0.01,
        "Rprop",
        [
            {"learning_rate": 0.1},
            {"etas": (0.3, 1.5), "step_sizes": (0.005, 0.02)},
        ],
    ),
]
