"""The README's first command."""

import numpy as np
import pytest

from layerkit.__main__ import main
from layerkit.datasets import load_digits
from layerkit.demo import load_patients, patients, split, train_convolutional_network
from layerkit.interchange import load


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
