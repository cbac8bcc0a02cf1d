"""Rules of the house that a machine can hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cagul
from cagul import errors

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_public_names_load():
    assert cagul.__all__
    for name in cagul.__all__:
        assert getattr(cagul, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cagul.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code", ["import cagul", "from cagul.cli.app import app", "import cagul.evaluation.metrics, cagul.data.records"]
)
def test_no_torch_where_none_is_needed(code):
    check = f"{code}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_files_stay_short():
    assert SOURCES
    assert [f"{p.name}: {n}" for p in SOURCES if (n := len(p.read_text().splitlines())) > 400] == []


def test_every_anchor_leads_somewhere():
    sections = set(re.findall(r"^## (\S+)$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.CagulError)]
    used = {c.anchor for c in classes}
    for path in SOURCES:  # the third argument of an error, where one is given
        used |= (
            set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"\s*,?\s*\)(?:  # fmt: skip)?(?: from \w+)?$', path.read_text(), re.MULTILINE))
            & sections
        )
    assert len(classes) >= 8
    assert used <= sections
    for error in classes:
        assert error.__name__ in (errors.__doc__ or "")


def test_exit_codes_are_those_of_the_docs():
    codes = {"UsageError": 2, "DataError": 3, "HostError": 4, "PatchError": 5, "WriteError": 7, "CagulError": 1}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes


def test_the_version_is_one():
    assert cagul.__version__ in (ROOT / "CITATION.cff").read_text()
    assert cagul.__version__ in (ROOT / "CHANGELOG.md").read_text()
