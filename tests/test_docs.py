"""The pages under docs/: generated ones are fresh, their commands and code run, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cagul.cli.app import app
from cagul.data.records import parse_records
from cagul.guard import REFUSED_INPUTS
from documents import ROOT, blocks, commands, stage, unmarked

DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *DOCS.glob("*.md")])


@pytest.fixture(scope="module")
def make_cli():
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_fresh(make_cli):
    assert (DOCS / "cli.md").read_text() == make_cli.page(), "docs/cli.md is stale: run `make docs` and commit it"


def test_the_command_line_page_has_every_verb_and_option(make_cli):
    verbs = [command.name for command in app.registered_commands]
    assert verbs
    page = make_cli.page()
    for verb in verbs:
        shown = page.split(f"## cagul {verb}\n")[1].split("\n## ")[0]
        plain = subprocess.run([sys.executable, "-m", "cagul", verb, "--help"], capture_output=True, text=True, check=True).stdout
        options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", plain.split("Options")[1])) - {"--help"}
        assert "--json" in options
        assert options <= set(re.findall(r"`(--[\w-]+)`", shown)), verb


def test_the_page_says_it_when_an_option_is_new(make_cli):
    import typer

    other = typer.Typer()

    @other.command("speak")
    def speak(word: str, loud: bool = typer.Option(False, "--loud", help="Shout | cry."), times: int = 2) -> None:
        """Say a word."""

    (title, function), *more = make_cli.commands(other)
    assert (title, more) == ("cagul speak", [])
    shown = make_cli.section(title, function)
    assert "Say a word." in shown
    assert "| `--loud` |  |  | Shout \\| cry. |" in shown
    assert "| `--times` | whole number | `2` |" in shown


def test_links_and_anchors_lead_somewhere():
    checked = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            found = page.parent / name if name else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in anchors, f"{page.name}: {target}"
            checked += 1
    assert checked >= 20


def test_the_readme_links_every_page():
    linked = set(re.findall(r"\]\((?:docs/)?([\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert {page.name for page in PAGES} - {"README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_is_in_a_block_that_nobody_runs(page):
    allowed = page.name == "cli.md"  # usage lines
    assert allowed or unmarked(page.read_text()) == []


@pytest.mark.slow
def test_the_quickstarts_commands_run(tiny_folder, tmp_path):
    found = commands((DOCS / "quickstart.md").read_text())
    staged = stage(tmp_path / "quickstart", tiny_folder)
    shown = [staged.run(command) for command in found]
    assert "Memorisation check" in shown[0]
    assert "Next: cagul ask" in shown[1]
    assert "face templates" in shown[2]
    assert shown[4].count("gate picture") == 2
    assert "text_only" in shown[5]


def test_there_is_something_to_run_in_the_quickstart():
    found = commands((DOCS / "quickstart.md").read_text())
    assert [command.split()[1] for command in found] == ["evaluate", "unlearn", "inspect", "ask", "ask", "evaluate"]


def test_the_quickstarts_records_are_records():
    lines = [line for text in blocks((DOCS / "quickstart.md").read_text(), "json") for line in text.splitlines()]
    found = parse_records(lines, Path(), "quickstart")
    assert [(record.kind, record.group) for record in found] == [("private", "known"), ("visual", ""), ("private", "calibration")]
    page = parse_records(blocks((DOCS / "records.md").read_text(), "json"), Path(), "records.md")
    assert len(page) == 1


def test_the_python_pages_blocks_run(tiny_folder, tmp_path, monkeypatch, capsys):
    code = blocks((DOCS / "python-api.md").read_text(), "python")
    assert len(code) == 7
    monkeypatch.chdir(stage(tmp_path / "api", tiny_folder).folder)
    names: dict = {}
    for number, text in enumerate(code):
        exec(compile(text, f"docs/python-api.md, block {number}", "exec"), names)  # the page's own code
    shown = capsys.readouterr().out
    assert "Decision(" in shown
    assert names["forget"]["text_only"]["n"] > 0
    assert {path.name for path in Path("runs/api").iterdir()} == {"manifest.json", "rows.jsonl", "salt", "summary.json"}


def test_the_threat_model_names_every_refused_input_and_only_real_figures():
    page = (DOCS / "threat-model.md").read_text()
    assert REFUSED_INPUTS
    for name in REFUSED_INPUTS:
        assert f"`{name}`" in page
    from cagul.evaluation.registry import MEANINGS

    known = {f"{split}.{name}" for split, name in MEANINGS}
    named = set(re.findall(r"`((?:forget|gate|retain|unseen)\.\w+)`", page))
    assert len(named) >= 12
    assert named <= known


def test_the_table_of_the_threat_model_is_that_of_the_readme():
    """Figures that both pages show are the same run's."""
    table = dict(re.findall(r"^│ forget │ (\w+) +│.*?│ (\d\.\d{3})", (ROOT / "README.md").read_text(), re.MULTILINE))
    page = dict(re.findall(r"`forget\.(\w+)` \|(?: \d\.\d{3} \|)? (\d\.\d{3})", (DOCS / "threat-model.md").read_text()))
    shared = set(table) & set(page)
    assert shared >= {"leak", "leak_fired", "ape", "text_only"}
    assert {name: table[name] for name in shared} == {name: page[name] for name in shared}
