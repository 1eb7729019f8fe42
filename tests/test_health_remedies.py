"""A remedy that says "do X" cures: X is done as a user would, and more of y is explained."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import clinic
import numpy as np
import pytest
import ward_of_all_kinds as kinds
import ward_of_long_trainings as long
import ward_of_usual_data as usual
import wards
from clinic import CCE, Case, diagnose, trained
from evidence_by_hand import evidence, snapshot
from sklearn.preprocessing import StandardScaler

from layerkit import (
    LSTM,
    BatchNorm,
    Dense,
    Dropout,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    PositionalEncoding,
    ReLU,
    Sequential,
    Sigmoid,
    SimpleRNN,
    Softmax,
)
from layerkit.inspection.diagnosis import probes, training_verdicts
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.optimizers import SGD

SEED = 3000
CLEARLY = 0.1  # of the variance of y


def networks(change):
    """The run with another network, made of the layers of the first."""
    return lambda run: replace(run, network=Sequential(change(run.network.chain)))


def data(change):
    return lambda run: replace(run, data=change(*run.data))


def first(layer):
    return networks(lambda chain: [layer(), *chain])


def before(kind, layer):
    return networks(
        lambda chain: [y for x in chain for y in ([layer()] * isinstance(x, kind) + [x])]
    )


def instead(kind, layer):
    return networks(lambda chain: [layer() if isinstance(x, kind) else x for x in chain])


def standardised(X, y):
    return X, (y - y.mean()) / y.std()


def standardised_channels(X, y):
    return (X - X.mean(axis=(0, 1))) / X.std(axis=(0, 1)), y


def anew(chain):
    """The same layers, which forget their weights when the network is built."""
    return [type(layer)(**layer.get_params(deep=False)) for layer in chain]


def sharp_for_longer(seed):
    """Attention that is stuck at one position, for as long as another start takes to learn."""
    return replace(kinds.sharp_attention(seed, factor=200.0), epochs=26)


wide = networks(lambda chain: [Dense(64), ReLU(), chain[-1]])
encoded = networks(lambda chain: [chain[0], PositionalEncoding(), *chain[1:]])
REMEDIES = [
    (clinic._unscaled_table, "BatchNorm() as its first layer", first(BatchNorm)),
    (clinic._unscaled_table, "StandardScaler()",
     data(lambda X, y: (StandardScaler().fit_transform(X), y))),
    (clinic._unscaled_offset, "BatchNorm() as its first layer", first(BatchNorm)),
    (clinic._unscaled_images, "Divide the images by 255", data(lambda X, y: (X / 255, y))),
    (clinic._unscaled_images, "(X - mean) / std", data(lambda X, y: ((X - X.mean()) / X.std(), y))),
    (kinds.huge_series, "BatchNorm() as its first layer", first(BatchNorm)),
    (kinds.huge_series, "(X - mean) / std", data(standardised_channels)),
    (kinds.time_stamps, "(X - mean) / std", data(standardised_channels)),
    (clinic._vanishing_mlp, "BatchNorm() before each", before(Sigmoid, BatchNorm)),
    (clinic._vanishing_cnn, "by ReLU()", instead(Sigmoid, ReLU)),
    (clinic._vanishing_regression, "BatchNorm() after these", before(ReLU, BatchNorm)),
    (usual.small_start, "BatchNorm() after these", before(ReLU, BatchNorm)),
    (clinic._exploding_mlp, "BatchNorm() after these", before(ReLU, BatchNorm)),
    (clinic._exploding_cnn, "BatchNorm() after these", before(LeakyReLU, BatchNorm)),
    (clinic._wrong_start_targets, "Standardise the targets", data(standardised)),
    (wards._no_log_softmax, "CategoricalCrossEntropy()", lambda run: replace(run, loss=CCE())),
    (wards._no_log_softmax_cnn, "CategoricalCrossEntropy()", lambda run: replace(run, loss=CCE())),
    (kinds.softmax_before_nll, "by LogSoftmax()", instead(Softmax, LogSoftmax)),
    (wards._relu_at_the_end, "into that range", data(lambda X, y: (X, y - y.min()))),
    (wards._tanh_at_the_end, "into that range", data(lambda X, y: (X, y / np.abs(y).max()))),
    (wards._sigmoid_at_the_end, "into that range",
     data(lambda X, y: (X, (y - y.min()) / np.ptp(y)))),
    (wards._clipped_norm, "or to None", lambda run: replace(run, optimizer=SGD(0.1))),
    (wards._clipped_value, "or to None", lambda run: replace(run, optimizer=SGD(0.05))),
    (clinic._tiny_batches, "by LayerNorm()", instead(BatchNorm, LayerNorm)),
    (clinic._tiny_batches_regression, "batch_size=32", lambda run: replace(run, batch_size=32)),
    (kinds.tiny_batches_of_series, "by LayerNorm()", instead(BatchNorm, LayerNorm)),
    (wards._millions, "(y - y.mean()) / y.std()", data(standardised)),
    (usual.raw_progression, "(y - y.mean()) / y.std()", data(standardised)),
    (clinic._overfitted, "fewer units", lambda run: replace(run, network=clinic.mlp(8))),
    (clinic._overfitted, "Dropout(0.3)", before(ReLU, partial(Dropout, 0.3))),
    (clinic._dead_mlp, "BatchNorm() before", before(ReLU, BatchNorm)),
    (clinic._dead_mlp, "LeakyReLU() in its place", instead(ReLU, LeakyReLU)),
    (clinic._dead_cnn, "BatchNorm() before", before(ReLU, BatchNorm)),
    (clinic._dead_mlp, "biases at zero", networks(anew)),
    (clinic._dead_cnn, "biases at zero", networks(anew)),
    (clinic._linear_on_rings, "Add a hidden layer, Dense(64), ReLU()",
     networks(lambda chain: [Dense(64), ReLU(), *chain])),
    (clinic._one_unit, "more units (the widest hidden layer has 1): Dense(64), ReLU()", wide),
    (kinds.one_unit_for_three, "(the widest hidden layer has 1): Dense(64), ReLU()", wide),
    (wards._few_units_on_spirals, "(the widest hidden layer has 2): Dense(64), ReLU()", wide),
    (long.words_in_a_bag, "PositionalEncoding() before layers.1", encoded),
    (long.steps_in_a_bag, "PositionalEncoding() before layers.1", encoded),
    (sharp_for_longer, "build anew", networks(anew)),
    (kinds.forgetful, "build anew", networks(anew)),
    (long.short_memory, "Use LSTM", instead(SimpleRNN, partial(LSTM, 14))),
    (long.short_memory, "build anew", networks(anew)),
    (kinds.exploding_steps, "use LSTM or GRU", instead(SimpleRNN, partial(LSTM, 12))),
    (kinds.closed_gates, "as a new layer does", networks(anew)),
]  # fmt: skip
# The others take long, or are like one of these.
QUICK = {0, 10, 12, 15, 18, 21, 24, 28, 30, 36, 42}
WARDS = (clinic, wards, kinds, usual, long)
VERDICTS = {case.make: case.verdict for ward in WARDS for case in ward.SICK}
VERDICTS[sharp_for_longer] = VERDICTS[kinds.sharp_attention]


def examined(make):
    """The report on a run, and how much of the variance of y the network explains by then."""
    report = diagnose(Case("", "", make), SEED, "health")
    run, *_ = trained(make, SEED)
    X, y = run.validation_data or run.data
    outputs = run.network.infer(X)
    known = np.isfinite(outputs).all()
    with np.errstate(all="ignore"):  # raw outputs that are taken for logarithms overflow
        return report, probes.network_explains(run.loss, outputs, y) if known else -np.inf


@pytest.mark.parametrize(
    ("make", "said", "cure"),
    [
        pytest.param(*row, id=f"{row[0].__name__}-{i}", marks=[pytest.mark.slow] * (i not in QUICK))
        for i, row in enumerate(REMEDIES)
    ],
)
def test_what_a_remedy_says_makes_the_network_better(make, said, cure):
    report, sick = examined(make)
    assert report.verdicts[0].name == VERDICTS[make] and said in report.verdicts[0].remedy
    report, cured = examined(lambda seed: cure(make(seed)))
    assert cured > sick + (CLEARLY if VERDICTS[make] != "overfitting" else CLEARLY / 2)
    if VERDICTS[make] != "overfitting" or said == "fewer units":
        assert VERDICTS[make] not in [verdict.name for verdict in report.verdicts]


ONE = "Use more units (the widest hidden layer has 4): Dense(64), ReLU()."
TWO = "Use two hidden layers: Dense(64), ReLU(), Dense(64), ReLU()."


@pytest.mark.parametrize(
    ("one", "two", "neighbours", "own", "remedy"),
    [
        (0.9, 0.99, 0.5, 0.0, f"{ONE} Tried on 50 rows with Adam(0.01), it explains 90%"),
        (0.5, 0.56, 0.5, 0.0, f"{TWO} Tried on 50 rows with Adam(0.01), it explains 56%"),
        (0.5, 0.54, 0.5, 0.0, f"{ONE} Tried on 50 rows with Adam(0.01), it explains 50%"),
        (0.9, 0.99, 0.5, 0.84, f"{ONE} Tried on 50 rows with Adam(0.01), it explains 90%"),
        (0.9, 0.99, 0.5, 0.86, None),
    ],
)
def test_the_smallest_network_that_helps_is_recommended(
    one, two, neighbours, own, remedy, monkeypatch
):
    monkeypatch.setattr(training_verdicts, "trained_again_learns", lambda e: "")
    monkeypatch.setattr(
        training_verdicts, "_tried_out", lambda e, widths: (one, two)[len(widths) - 1]
    )
    network = Sequential([Dense(4), Dense(1)]).build(3)
    shot = snapshot(1.0, 1.0, [SimpleNamespace(path=s.path, layer=s) for s in network])
    rows = Rows(np.zeros((50, 3)), np.zeros(50))
    e = evidence(now=shot, network=network, probed=rows, neighbours_explain=neighbours)
    expected = f"{remedy}; on a plateau, another random_state." if remedy else ""
    assert training_verdicts._larger(e, own) == expected
