"""The words of all verdicts: whatever a test of them comes upon stands in ``data/verdicts.txt``.

``LAYERKIT_RENEW=1 pytest tests/test_health.py tests/test_health_{borders,inputs,signals}.py`` adds
what is missing (begin without the file); its difference says what a change did to the words.
"""

import os
import re
from pathlib import Path

import pytest

from layerkit.inspection.diagnosis.evidence import Verdict

FILE = Path(__file__).parent / "data" / "verdicts.txt"
NUMBER = re.compile(r"[-+]?\d[\d,.]*(?<![,.])(e[-+]?\d+)?%?")


def sentence(verdict):
    """A verdict in a line, whatever its numbers are."""
    _, layer, severity, evidence, remedy, _ = verdict
    words = f"{verdict.name} · {severity} · {layer} · {evidence} · {remedy}"
    return f"{type(verdict).__name__} {NUMBER.sub('#', words)}".replace("\n", "\\n")


class Known(set):
    """The sentences of the file; when it is renewed, all that come."""

    renewed = "LAYERKIT_RENEW" in os.environ

    def check(self, verdicts):
        found = {sentence(verdict) for verdict in verdicts}
        if self.renewed:
            self.update(found)
        assert found <= self, found - self


@pytest.fixture(scope="module")
def known_verdicts():
    known = Known(FILE.read_text().splitlines() if FILE.exists() else ())
    yield known
    if known.renewed:
        FILE.write_text("\n".join([*sorted(known), ""]))


@pytest.fixture
def verdicts_in_known_words(known_verdicts, monkeypatch):
    """Every verdict of a test reads as one that the file knows."""
    found, make = [], Verdict.__new__

    def noted(kind, *parts, **named):
        found.append(make(kind, *parts, **named))
        return found[-1]

    monkeypatch.setattr(Verdict, "__new__", noted)
    yield
    known_verdicts.check(found)
