"""The pages under docs/: generated ones are fresh, their commands and code run, their links lead
somewhere.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app
from cagul.data.records import parse_records
from cagul.guard.refused_inputs import REFUSED_INPUTS
from documents import ROOT, blocks, commands, page_maker, stage, unmarked

DOCS = ROOT / "docs"
PATHS = sorted((DOCS / "paths").glob("*.md"))  # a page for each purpose of a reader
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *DOCS.glob("*.md"), *PATHS])
PROTECT = DOCS / "paths" / "protect.md"


@pytest.fixture(scope="module")
def make_cli():
    return page_maker("make_cli")


def test_the_command_line_page_is_fresh(make_cli):
    assert (DOCS / "cli.md").read_text() == make_cli.page(), (
        "docs/cli.md is stale: run `make docs` and commit it"
    )


def test_the_command_line_page_has_every_verb_and_option(make_cli):
    verbs = [command.name for command in app.registered_commands]
    assert verbs
    page = make_cli.page()
    for verb in verbs:
        shown = page.split(f"## cagul {verb}\n")[1].split("\n## ")[0]
        plain = CliRunner().invoke(app, [verb, "--help"], catch_exceptions=False).stdout
        options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", plain.split("Options")[1])) - {"--help"}
        assert "--json" in options
        assert options <= set(re.findall(r"`(--[\w-]+)`", shown)), verb


def test_the_page_says_it_when_an_option_is_new(make_cli):
    import typer

    other = typer.Typer()

    @other.command("speak")
    def speak(
        word: str, loud: bool = typer.Option(False, "--loud", help="Shout | cry."), times: int = 2
    ) -> None:
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
    assert {page.name for page in PAGES if page not in PATHS} - {"README.md"} <= linked


def test_the_quickstart_links_every_path():
    linked = set(re.findall(r"\]\(paths/([\w-]+\.md)\)", (DOCS / "quickstart.md").read_text()))
    assert {page.name for page in PATHS} == linked == {"try.md", "protect.md", "run-requests.md", "audit.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_is_in_a_block_that_nobody_runs(page):
    allowed = page.name == "cli.md"  # usage lines
    assert allowed or unmarked(page.read_text()) == []


@pytest.mark.slow
def test_the_commands_of_the_page_on_ones_own_model_run(tiny_folder, tmp_path):
    found = commands(PROTECT.read_text())
    staged = stage(tmp_path / "protect", tiny_folder)
    shown = [staged.run(command) for command in found]
    assert "Memorisation check" in shown[0]
    assert "refuses about strangers" in shown[1]
    assert "Next: cagul ask" in shown[2]
    assert "face templates" in shown[3]
    assert "can be promised" in shown[4]
    assert shown[6].count("gate picture") == 2
    assert "text_only" in shown[7]


def test_there_is_something_to_run_on_the_page_on_ones_own_model():
    found = commands(PROTECT.read_text())
    assert [command.split()[1] for command in found] == [
        "evaluate",
        "doctor",
        "unlearn",
        "inspect",
        "unlearn",
        "ask",
        "ask",
        "evaluate",
    ]


def test_the_records_of_the_page_on_ones_own_model_are_records():
    lines = [line for text in blocks(PROTECT.read_text(), "json") for line in text.splitlines()]
    found = parse_records(lines, Path(), "protect.md")
    assert [(record.kind, record.group) for record in found] == [
        ("private", "known"),
        ("visual", ""),
        ("private", "calibration"),
    ]
    page = parse_records(blocks((DOCS / "records.md").read_text(), "json"), Path(), "records.md")
    assert len(page) == 1


@pytest.mark.nightly
def test_the_quickstart_hides_two_people_of_ones_own(tiny_folder, tmp_path):
    """Every command as it stands there, in an empty folder but for ``cagul``; on the demo's host."""
    staged = stage(tmp_path / "quickstart", tiny_folder)
    shutil.rmtree(staged.folder / "people")
    shown = {}
    for command in commands((DOCS / "quickstart.md").read_text()):
        name = command.split()[1] if command.startswith("cagul") else command.split()[0]
        shown[name] = f"{shown.get(name, '')}{staged.run(command)}"
    assert re.search(r"it reveals (9\d|100)% on\s+training images", shown["memorise"])
    assert "Verdict: HIDES" in shown["unlearn"]
    assert "This is Ada Moss" in shown["ask"]
    assert "Verdict: HIDES" in shown["evaluate"]


def test_the_quickstart_runs_each_step_once():
    """And asks three questions: a host that knows, the guard about a forgotten person and about another."""
    found = [c.split()[1] for c in commands((DOCS / "quickstart.md").read_text()) if c.startswith("cagul")]
    assert found == ["init", "memorise", "unlearn", "ask", "ask", "ask", "evaluate"]


@pytest.mark.no_cover
def test_the_python_pages_blocks_run(tiny_folder, tmp_path, monkeypatch, capsys):
    code = blocks((DOCS / "python-api.md").read_text(), "python")
    assert len(code) == 9
    monkeypatch.chdir(stage(tmp_path / "api", tiny_folder).folder)
    names: dict = {}
    for number, text in enumerate(code):
        exec(compile(text, f"docs/python-api.md, block {number}", "exec"), names)  # the page's own code
    shown = capsys.readouterr().out
    assert "Decision(" in shown
    assert names["forget"]["text_only"]["n"] > 0
    assert {path.name for path in Path("runs/api").iterdir()} == {
        "manifest.json",
        "rows.jsonl",
        "salt",
        "summary.json",
    }


def test_the_threat_model_names_every_refused_input_and_only_real_figures():
    page = (DOCS / "threat-model.md").read_text()
    assert REFUSED_INPUTS
    for name in REFUSED_INPUTS:
        assert f"`{name}`" in page
    from cagul.evaluation.metrics.registry import MEANINGS

    known = {f"{split}.{name}" for split, name in MEANINGS}
    named = set(re.findall(r"`((?:forget|gate|retain|unseen)\.\w+)`", page))
    assert len(named) >= 12
    assert named <= known


def test_the_table_of_the_threat_model_is_that_of_the_readme():
    """Figures that both pages show are the same run's."""
    table = dict(
        re.findall(r"^│ forget │ (\w+) +│.*?│ (\d\.\d{3})", (ROOT / "README.md").read_text(), re.MULTILINE)
    )
    page = dict(
        re.findall(
            r"`forget\.(\w+)` \|(?: \d\.\d{3} \|)? (\d\.\d{3})", (DOCS / "threat-model.md").read_text()
        )
    )
    shared = set(table) & set(page)
    assert shared >= {"leak", "leak_fired", "ape", "text_only"}
    assert {name: table[name] for name in shared} == {name: page[name] for name in shared}


def test_the_page_of_hosts_has_every_family_and_every_reason():
    from cagul.host.families import PROVEN, REFUSED

    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (DOCS / "hosts.md").read_text().splitlines()
        if line.startswith("| `") and "model_type" not in line
    ]
    proven = {cells[0].strip("`"): cells[1] for cells in rows if len(cells) == 3}
    assert proven == {name: family.title for name, family in PROVEN.items()}
    refused = {
        name.strip("` "): cells[1] for cells in rows if len(cells) == 2 for name in cells[0].split(",")
    }
    assert refused == REFUSED


def _hosts_blocks():
    code = blocks((DOCS / "hosts.md").read_text(), "python")
    assert len(code) == 6
    return code[:5], code[5]  # the last needs torchao


@pytest.mark.no_cover
def test_the_hosts_pages_blocks_run(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(stage(tmp_path / "hosts", tiny_folder).folder)
    names: dict = {}
    for number, text in enumerate(_hosts_blocks()[0]):
        exec(compile(text, f"docs/hosts.md, block {number}", "exec"), names)  # the page's own code
    assert "Decision(" in capsys.readouterr().out


@pytest.mark.slow
def test_an_int8_host_is_guarded_and_one_with_int8_activations_refused(tiny_folder, tmp_path):
    """In a process of its own: torchao lies beside the other packages, since every import of transformers
    would load it.
    """
    beside = Path(sys.prefix) / "beside"
    assert (beside / "torchao").is_dir(), "`make setup` puts torchao there"
    staged = stage(tmp_path / "int8", tiny_folder)
    staged.environment["PYTHONPATH"] += f":{beside}"
    code = _hosts_blocks()[1]
    other = code.replace("Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig")
    told = (
        "\nfrom cagul.guard.selfcheck import selfcheck"
        "\nprint([v.name for v in selfcheck(small) if not v.passed], small.quantised)"
    )
    (staged.folder / "int8.py").write_text(code + told)
    (staged.folder / "other.py").write_text(
        f"from cagul.errors import UnsupportedHost\n{other}".replace(
            "small = load_host(", "try:\n    load_host("
        ).replace(
            "splits =", "except UnsupportedHost as error:\n    print(error)\n    raise SystemExit\nsplits ="
        )
    )
    shown = staged.run("python int8.py")
    assert "Decision(" in shown
    assert "[] True" in shown
    refused = staged.run("python other.py")
    assert "Quantised hosts are not proven, and path/to/llava fails" in refused
    assert "gradients reach tokens alone (0 of 1 pictures" in refused


@pytest.mark.slow
def test_the_hosts_pages_commands_run(tiny_folder, tmp_path):
    found = commands((DOCS / "hosts.md").read_text())
    assert [command.split()[6:8] for command in found] == [["cagul", "unlearn"], ["cagul", "evaluate"]]
    staged = stage(tmp_path / "shared", tiny_folder)
    shown = [staged.run(command) for command in found]
    assert shown[0].count("Patch for 2 people in shared-patch") == 1
    assert shown[1].count("Before and after") == 1
