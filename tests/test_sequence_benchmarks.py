"""The table of sequence models: the page is the committed results, and every row can be made."""

import importlib.util

import numpy as np
import pytest

from benchmarks import sequence_rows, sequences
from benchmarks.sequences import Row
from benchmarks.sides import layerkit_side, products_side

ROWS = {f"{w.group}: {w.name}": w for w in sequence_rows.ALL}


def test_no_row_has_the_name_of_another():
    assert len(ROWS) == len(sequence_rows.ALL)
    assert {w.options["batch"] for w in sequence_rows.SAMPLE} >= {1, 32, 128}


def test_the_page_shows_the_committed_results():
    page, found = sequences.PAGE.read_text(encoding="utf-8"), sequences.read(sequences.RESULTS)
    assert sequences.updated(page, found) == page
    assert len({row[:4] for row in found}) == len(found) > 100
    assert {f"{row.group}: {row.name}" for row in found} <= ROWS.keys()
    for row in found:
        assert f"| {row.group} | {row.name} | {row.milliseconds:.3g} | {row.ratio:.2f} |" in page


@pytest.mark.parametrize(
    ("group", "name", "ratio"),
    [
        ("SimpleRNN training step", "256 units, 200 steps, batch 128", 2),
        ("GRU inference", "32 units, 20 steps, batch 1", 2),
        ("LSTM inference ragged", "256 units, 20 steps, batch 32", 2),
        ("GRU inference float64", "64 units, 50 steps, batch 1", 1.5),
        ("LSTM training step", "64 units, 200 steps, batch 32", 1.5),
        ("LSTM training step", "256 units, 20 steps, batch 32", 1),
        ("attention causal, inference", "16 rows of 256 steps", 1.2),
        ("transformer, forward + backward", "4 rows of 1024 steps", 0.8),
    ],
)
def test_what_was_aimed_at(group, name, ratio):
    assert f"{group}: {name}" in ROWS
    assert sequence_rows.goal(group, name) == ratio
    enough = Row("numba", 2, group, name, 1.0, ratio, ratio, ratio, None)
    assert not enough.is_short
    less = enough._replace(ratio=ratio - 0.01, products=0.75)
    assert less.is_short and "75 %" in sequences.binds(less)
    assert not less._replace(kernels="numpy").is_short  # judged by their mean
    assert f"| {group} | {name} | {less.ratio:.2f} |" in sequences.short([enough, less])
    assert sequences.short([enough]).count("\n") == 1


@pytest.mark.parametrize("variant", ["", "ragged", "float64"])
@pytest.mark.parametrize("training", [True, False])
def test_a_row_does_its_work(variant, training):
    for batch in (2, 1):
        row = sequence_rows.recurrent("GRU", 3, 8, batch, training, variant)
        for side in (layerkit_side, products_side):
            for _ in range(2):
                getattr(side, row.kind)(**row.options)()


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch, capsys):
    class Side:
        def __init__(self, name, threads, kernels=None):
            self.name, self.runs = name, 0

        def prepare(self, workload):
            assert "products" in workload.peers

        def run(self):
            self.runs += 1
            return {"layerkit": 1.0, "torch": 2.5, "products": 0.25}[self.name]

        def close(self):
            assert self.runs

    out = tmp_path / "rows.csv"
    monkeypatch.setattr(sequences, "Side", Side)
    options = ["x", "--out", str(out), "--threads", "2", "--only", "^GRU inference: 32 units"]
    for kernels in ("numba", "numpy", "numba"):
        monkeypatch.setattr("sys.argv", [*options, "--kernels", kernels])
        sequences.main()
    found = sequences.read(out)
    names = [
        w.name for w in sequence_rows.SAMPLE if (w.group, w.name[:3]) == ("GRU inference", "32 ")
    ]
    assert [row.name for row in found] == 2 * names
    assert np.allclose([(row.ratio, row.products) for row in found], (2.5, 0.25))
    assert f"| GRU inference | {len(names)} | 2.5 |" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch takes part")
def test_pytorch_does_the_same_work():
    from benchmarks.sides import torch_side

    for variant in ("", "ragged", "float64"):
        row = sequence_rows.recurrent("LSTM", 3, 8, 2, True, variant)
        torch_side.recurrent(**row.options)()
