"""What every test file shares: a generator, headless figures, and no silent skips in CI."""

import importlib
import os

# Processes of tests whose products each take all cores wait for one another; what is about threads
# asks for them. NumPy reads it when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
from sentences import known_verdicts, verdicts_in_known_words  # noqa: F401

from layerkit.kernels import dispatch

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # or scikit-learn skips its array-API check
# Show values there too.
pytest.register_assert_rewrite("contract_of_passes", "contract_of_objects", "loss_contract")

# A deadline, and the time that drawing takes, measure the machine's load, not the code. CI draws
# the same examples every time; everywhere else hypothesis keeps looking for new ones.
hypothesis.settings.register_profile(
    "layerkit",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis.settings.load_profile("layerkit")


def pytest_configure(config):
    """Import what LAYERKIT_REQUIRE names: in CI a missing oracle is an error, not a skip."""
    for module in os.environ.get("LAYERKIT_REQUIRE", "").split():
        importlib.import_module(module)


def pytest_collection_modifyitems(items):
    """Refuse an address in a name: pytest-xdist wants the same names in every process."""
    addressed = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if addressed:
        raise pytest.UsageError("give these tests ids of their own: " + ", ".join(addressed))


@pytest.fixture(autouse=True)
def same_kernels():
    """Every test leaves the choice of kernels as it was, or the next one would compute others."""
    before = dispatch._chosen
    yield
    assert dispatch._chosen is before


@pytest.fixture
def rng():
    """A seeded generator, fresh for each test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def client():
    """A Dask client with two workers, threads of this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
