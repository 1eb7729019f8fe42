"""One version everywhere; what the metadata promise. `.ci/run` builds and installs the wheel."""

import configparser
import datetime
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_citation_badge_and_addresses_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {layerkit.__version__}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r'date-released: "(.+)"', citation)[1]
    assert f"## [{layerkit.__version__}] - {released}\n" in changelog
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"badge/version-{layerkit.__version__}-" in readme
    metadata = setup_cfg()["metadata"]
    assert metadata["url"] == version.SITE
    assert f"\nurl: {version.SITE}\n" in citation
    source = re.search(r"Source = (.+)", metadata["project_urls"])[1]
    assert f"\nrepository-code: {source}\n" in citation


def test_every_mention_of_the_projects_addresses_agrees_with_setup_cfg():
    metadata = setup_cfg()["metadata"]
    urls = dict(line.split(" = ") for line in metadata["project_urls"].strip().splitlines())
    assert urls["Documentation"] == metadata["url"]
    assert all(urls[name].startswith(urls["Source"] + "/") for name in ("Issues", "Changelog"))
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.cf[fg]"), *ROOT.glob("layerkit/**/*.py")]
    texts += [path for path in ROOT.glob("docs/**/*.md") if "_build" not in path.parts]
    for path in texts:
        for url in re.findall(r"https?://[\w./-]*layerkit[\w./-]*", path.read_text("utf-8")):
            if "img.shields.io" not in url:
                assert url.startswith((metadata["url"], urls["Source"])), (path, url)


def test_the_readme_on_pypi_has_no_link_to_a_file_beside_it():
    pytest.importorskip("setuptools", minversion="77")
    command = [sys.executable, "setup.py", "--quiet", "--long-description"]
    page = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    source = re.search(r"Source = (.+)", setup_cfg()["metadata"]["project_urls"])[1]
    assert f"![A health report]({source}/raw/main/docs/health.png)" in page
    assert f"({source}/blob/main/LICENSE)" in page
    assert not re.findall(r"\]\((?!https://)", page)


def test_the_question_mark_of_a_diagram_leads_to_a_page_of_the_reference():
    for name in layerkit.estimators.__all__:
        kind = getattr(layerkit.estimators, name)
        made = kind([]) if name.startswith("Sequential") else kind()
        assert made._get_doc_link() == f"{version.SITE}/reference/layerkit.estimators.{name}.html"


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
