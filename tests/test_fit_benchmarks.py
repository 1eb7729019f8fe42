"""The table of fits: every row can be made, and the same way for us and for scikit-learn."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn import neural_network

import layerkit
from benchmarks import fit_rows, fits, readme
from benchmarks.measure import Timing
from benchmarks.workloads import Workload

ROWS = {f"{fit.group}: {fit.name}": fit for fit in (*fit_rows.FITS, *fit_rows.BUSY)}


def test_no_row_has_the_name_of_another():
    assert len(ROWS) == len(fit_rows.FITS) + len(fit_rows.BUSY)
    assert len(fit_rows.BUSY) == 4


@pytest.mark.parametrize("library", [layerkit, neural_network])
@pytest.mark.parametrize("name", [name for name, f in ROWS.items() if f.table != "text"])
def test_both_libraries_take_the_parameters_of_a_row(library, name):
    fit = ROWS[name]
    if fit.kind in ("classification", "regression"):
        kind = "MLPRegressor" if fit.kind == "regression" else "MLPClassifier"
        assert getattr(library, kind)(**fit.options).get_params()["max_iter"] > 0


def test_a_row_does_its_work():
    repeat = fit_rows.work(layerkit, "classification", "iris", {"max_iter": 2})
    assert repeat().n_iter_ == 2
    answer = fit_rows.work(layerkit, "answer", "frame", {"method": "predict_proba", "rows": 32})
    assert answer().shape == (32, 3)


@pytest.mark.parametrize("library", ["layerkit", "sklearn"])
def test_fresh_processes_run_the_same_program(library):
    for work in fit_rows.FRESH.values():
        compile(fit_rows.program(library, work), library, "exec")


def test_a_table_is_written_and_read_by_the_readme(tmp_path, monkeypatch):
    timing = Timing(Workload("fit", "iris", "", {}, ("sklearn",)))
    timing.seconds = {"layerkit": [1.0, 2.0, 3.0], "sklearn": [4.0, 8.0, 12.0]}
    for backend in readme.FITS:
        fits.write_csv([timing], tmp_path / f"fits_{backend}_2_threads.csv")
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "other.csv")
    made = readme.updated("<!-- fits -->\nold\n<!-- /fits -->", [])
    assert "| iris | 4.0 | 4.0 |" in made and "old" not in made
    assert "4.00 (4.00)" in fits.means([timing])
    assert np.isclose(timing.ratio("sklearn")[1], 4)


def test_the_readme_can_be_renewed_without_fits():
    made = runpy.run_path(str(Path(readme.__file__)))
    assert made["updated"]("nothing marked", []) == "nothing marked"
