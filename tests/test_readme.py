"""Every command of the README is run as it stands there, but ``make setup`` and ``make test``."""

from __future__ import annotations

import re

import pytest

from cagul.cli.evaluate import EDIT_ROWS, FILTER_ROWS, NAMED_ROWS, ROWS, WORDS
from cagul.evaluation.metrics.registry import MEANINGS
from documents import NOT_RUN, ROOT, blocks, commands, stage, unmarked

README = (ROOT / "README.md").read_text()
VALUE = r"\d\.\d{3}( \d\.\d\d-\d\.\d\d)?"


def shape(text: str) -> str:
    """What a printed page is like: hashes, numbers and widths taken out."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "#", text)
    text = re.sub(r"\d[\d,.]*", "0", text)
    return " ".join(re.sub(r"[━─┏┓┗┛┡┩└┘┳┻╇┴┬╈]+", "-", text).split())


def test_what_there_is_to_run():
    found = commands(README)
    assert len(blocks(README, "sh")) == 3
    assert len(blocks(README, "python")) == 1
    assert [" ".join(command.split()[:2]) for command in found] == [
        "make demo",
        "make test",
        "cagul unlearn",
        "cagul ask",
        "cagul evaluate",
    ]
    assert set(NOT_RUN) - set(found) == {"make setup"}
    assert unmarked(README) == []


@pytest.mark.slow
def test_the_commands_run(tiny_folder, tmp_path):
    staged = stage(tmp_path / "readme", tiny_folder)
    shown = {c.split()[1]: staged.run(c) for c in commands(README) if c not in (*NOT_RUN, "make demo")}
    assert "Patch for 2 people in forget-p003-p007" in shown["unlearn"]
    assert re.search(r"gate (fired|silent)", shown["ask"])
    assert "Before and after" in shown["evaluate"]
    assert (staged.folder / "runs" / "p003-p007" / "summary.json").is_file()


def demo_output() -> str:
    """What the README shows of `make demo`."""
    return next(text for text in blocks(README, "") if text.startswith("Host: a LLaVA"))


def test_the_shown_figures_are_of_the_form_that_the_command_prints():
    """In both layouts: meanings are the last column of a wide table, and notes below a narrow one."""
    shown = demo_output()
    further = (*WORDS, *NAMED_ROWS, *EDIT_ROWS, *FILTER_ROWS)
    figures = [
        match.groups()
        for match in re.finditer(
            r"^│ (\w+) +│ (\w+) +│ +(.*?) *│ +(.*?) *│(?: (.*?) +│)?$", shown, re.MULTILINE
        )
    ]
    assert [name for row in figures if (name := tuple(row[:2])) not in further] == list(ROWS)
    for split, name, host, cagul, meaning in figures:
        assert re.fullmatch(rf"({VALUE})?", host)
        assert re.fullmatch(VALUE, cagul)
        note = re.search(rf"^{split} {name} +(.*)$", shown, re.MULTILINE)
        assert MEANINGS[split, name] == (meaning or (note and note[1]))
    questions = shown.split("Five questions\n")[1].split("Before and after")[0]
    assert len(re.findall(r"^│? ?(?:forget|retain|unseen), \w+", questions, re.MULTILINE)) == 5


@pytest.mark.slow
def test_make_demo_prints_what_the_readme_shows(demo_run):
    printed, folder = demo_run
    assert "make demo" in commands(README)
    shown = next(text for text in blocks(README, "") if text.startswith("Host: a LLaVA"))
    assert shape(printed) == shape(shown)
    assert (folder / "summary.json").is_file()
