"""One version everywhere; what the metadata promise. `.ci/run` builds and installs the wheel."""

import configparser
import datetime
import re
from pathlib import Path

import layerkit
from layerkit import version

ROOT = Path(__file__).parent.parent


def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_the_changelog_describes_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *releases = re.findall(r"^## \[(.+?)\](?: - (.+))?$", text, re.MULTILINE)
    assert unreleased == ("Unreleased", "")
    version, date = releases[0]
    assert version == layerkit.__version__
    assert datetime.date.fromisoformat(date)
    sections = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= sections


def test_the_metadata_take_the_version_from_the_package():
    assert setup_cfg()["metadata"]["version"] == "attr: layerkit.version.__version__"
    assert layerkit.__version__ == version.__version__


def test_classifiers_name_the_python_that_is_required():
    config = setup_cfg()
    least = config["options"]["python_requires"].removeprefix(">=")
    named = re.findall(r"Python :: (3\.\d+)", config["metadata"]["classifiers"])
    assert named[0] == least


def test_every_library_that_an_error_asks_for_is_in_its_extra():
    extras = setup_cfg()["options.extras_require"]
    asked = {
        extra
        for path in (ROOT / "layerkit").rglob("*.py")
        for extra in re.findall(r"layerkit\[(\w+)\]", path.read_text(encoding="utf-8"))
    }
    assert {"fast", "plot", "onnx"} <= asked <= set(extras)
