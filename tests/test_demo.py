"""The README's first command."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from layerkit.__main__ import main
from layerkit.datasets import load_digits
from layerkit.demo import (
    BMI,
    draw_quantiles,
    load_patients,
    patients,
    quantile_regression,
    split,
    train_convolutional_network,
)
from layerkit.interchange import load


@pytest.mark.slow  # and the first thing that CI does
def test_demo_prints_scores_and_writes_pictures(tmp_path, capsys):
    main(["demo", "--out", str(tmp_path / "new" / "folder")])
    shown = capsys.readouterr()
    scores = [
        float(line.split("%")[0].split()[-1]) for line in shown.out.splitlines() if "%" in line
    ]
    assert len(scores) == 3
    assert min(scores) > 95
    assert "100%" in shown.err  # the progress bar
    for name in ("training_curve.png", "gradient_flow.png", "quantiles.png"):
        assert (tmp_path / "new" / "folder" / name).read_bytes().startswith(b"\x89PNG")
    network = load(tmp_path / "new" / "folder" / "digits.npz")
    X, y = load_digits()
    assert np.mean(network.infer(X).argmax(axis=1) == y) > 0.98


def test_without_a_command_it_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "command" in capsys.readouterr().err


def test_tables_and_quantiles_need_no_pandas(tmp_path, capsys):
    """The README's first command does not install it."""
    assert type(load_patients()[0]) is np.ndarray
    patients(tmp_path, seed=0)
    assert float(capsys.readouterr().out.split()[-3]) > 0.4  # R², then the seconds
    assert (tmp_path / "quantiles.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_of_quantiles_says_what_it_draws(tmp_path, monkeypatch):
    quick = quantile_regression(seed=0).set_params(sequentialregressor__max_iter=30)
    monkeypatch.setattr("layerkit.demo.quantile_regression", lambda seed: quick)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    draw_quantiles(tmp_path)
    (ax,) = drawn[0].axes
    said = ["patients", "80 % of patients", "median"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == said
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "body mass index, kg/m²",
        "disease progression after a year",
    )
    X, y = load_patients()
    points, band = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), np.c_[X[:, BMI], y])
    grid, median = ax.lines[0].get_data()
    corners = band.get_paths()[0].vertices
    assert (grid[0], grid[-1]) == (X[:, BMI].min(), X[:, BMI].max())
    for x, middle in zip(grid, median, strict=True):
        low, high = np.unique(corners[corners[:, 0] == x, 1])[[0, -1]]
        assert low < middle < high and y.min() < middle < y.max()


def test_without_matplotlib_there_are_scores_but_no_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("layerkit.demo.find_spec", lambda name: None)
    monkeypatch.setattr("layerkit.demo.digits", lambda out, seed: None)
    main(["demo", "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "patients" in shown
    assert "layerkit[plot]" in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_convolutional_network_reads_digits():
    accuracies = []
    for seed in range(5):
        X, X_test, y, y_test = split(*load_digits(), 0.2, seed)
        network, _, _ = train_convolutional_network(X, y, seed)
        accuracies.append(np.mean(network.infer(X_test).argmax(axis=1) == y_test))
    assert np.mean(accuracies) >= 0.985
