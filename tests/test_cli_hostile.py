"""Data never reads as markup, moves the cursor or turns the direction of a terminal; --json answers errors
too; a reader who leaves ends nothing.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import cagul.cli.app as command
import cagul.cli.terminal as terminal
from cagul.cli.app import GROUPS, VERBS
from cagul.cli.terminal import FactsTable, FittedTable, PlainConsole, bold, dim, plain
from cagul.errors import DataError, one_line, printable
from helpers import make_patch
from made_runs import make_run

ALL = [[name] for name in VERBS] + [[group, name] for group, (_, verbs) in GROUPS.items() for name in verbs]
NAMES = [
    "run[final]",
    "r[/f]",
    "[/old]",
    "[bold red]x[/]",
    ":smile:",
    "\\[x]",
    "a\x1b[31mred\x1b]8;;https://x\x07",
    "a\x9b31m",
    "a\rb\x08\x7f",
    "a\nVerified: leak 0 %",
    "\u202egnp.exe",
    "a\u2066b\u2069",
    "a\u2028b",
    "\ufeffada",
    "x\U000e0041",
    "Müller 李雷 عائشة 👩‍👩‍👧",
]
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


@pytest.fixture
def cagul(cagul_streams):
    """A command line's exit code, standard output and standard error, apart."""
    return cagul_streams


@pytest.mark.parametrize("name", NAMES)
def test_data_is_printed_as_it_is(name):
    console = PlainConsole(width=300, file=io.StringIO())
    console.say("Report in ", bold(name), "; ", plain(name), ".")
    console.print(
        FittedTable(name, [name, "b"], [[name, dim(name)]], narrow="list"), FactsTable(name, [("a", name)])
    )
    printed = console.file.getvalue()
    assert printed.startswith(f"Report in {one_line(name)}; {one_line(name)}.\n")
    assert printed.count(one_line(name)) >= (6 if "\n" in name else 7)
    assert not RAW.search(printed)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_name_is_never_cut_or_wrapped(width):
    path = "/a folder with spaces/" + "x" * 50 + "/report [1].html"
    console = PlainConsole(width=width, file=io.StringIO())
    console.say("Open ", bold(path), ", the same as a page: ", *["word " * 9])
    lines = console.file.getvalue().splitlines()
    assert any(path in line for line in lines)
    assert all(len(line) <= width for line in lines if path not in line)


def test_a_cell_is_wrapped_and_loses_nothing():
    name = "[x] " * 40
    console = PlainConsole(width=40, file=io.StringIO())
    console.print(FittedTable("t", ["a", "b"], [["1", name]]))
    assert console.file.getvalue().count("[x]") == 40


def test_colour_comes_from_styles_alone():
    console = PlainConsole(width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.say("12 of [red]34[/] in ", "/tmp/x")
    assert console.file.getvalue() == "12 of [red]34[/] in /tmp/x\n"
    console.say(bold("[red]"))
    assert console.file.getvalue().endswith("\x1b[1m[red]\x1b[0m\n")


def test_no_verb_prints_markup_or_a_console_of_its_own():
    for path in Path(command.__file__).parent.glob("*.py"):
        if path.name != "terminal.py":
            assert not re.search(
                r"rich\.(markup|console|table)|\bmarkup=|\[/\]|\[(bold|dim|yellow)", path.read_text()
            ), path


@pytest.mark.parametrize("name", NAMES)
def test_json_escapes_what_a_terminal_acts_on(name, capsys):
    terminal.print_json({name: name})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {name: name}
    assert not RAW.search(printed.removesuffix("\n"))


def test_an_error_keeps_hostile_data_on_its_line():
    for name in NAMES:
        assert not RAW.search(str(DataError(f"There is no picture {name}.", "Name it.")))
        assert printable(one_line(name)) == one_line(name)
        assert "\n" not in one_line(name)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_verb_answers_errors_as_json(words, cagul):
    for option in ("--[/f]", "--\x1b[31m"):
        code, out, err = cagul(*words, option, "--json")
        answer = json.loads(out)
        assert answer.keys() == {"error", "message", "remedy", "help", "exit_code"}
        assert (answer["error"], answer["exit_code"], code) == ("UsageError", 2, 2)
        assert printable(option) in err
        assert not RAW.search(err)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_an_interrupt_is_answered_as_json(words, cagul, monkeypatch):
    def stop(json: bool = terminal.typer.Option(False, "--json")) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", lambda verb: stop)
    code, out, err = cagul(*words, "--json")
    assert (code, json.loads(out)["error"], json.loads(out)["exit_code"]) == (130, "Interrupted", 130)
    assert err.startswith("Interrupted.")


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name])
@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (["inspect"], "PatchError", 5),
        (["report"], "DataError", 3),
        (["records", "check"], "DataError", 3),
        (["requests", "list", "--store"], "StoreError", 6),
        (["ask", "Who?", "--host"], "HostError", 4),
        (["ask", "Who?", "--image"], "DataError", 3),
    ],
)
def test_errors_name_hostile_places(name, words, error, code, cagul, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answered, out, err = cagul(*words, name, "--json")
    answer = json.loads(out)
    assert (answer["error"], answer["exit_code"], answered) == (error, code, code)
    assert one_line(name) in err
    assert not RAW.search(out.removesuffix("\n") + err)


def test_a_bug_is_answered_as_json_beside_its_traceback(cagul, monkeypatch):
    def fail(json: bool = terminal.typer.Option(False, "--json")) -> None:
        raise ZeroDivisionError("a\x1b[31m")

    monkeypatch.setattr(command, "load", lambda verb: fail)
    code, out, err = cagul("hosts", "--json")
    assert (code, json.loads(out)["error"]) == (1, "ZeroDivisionError")
    assert "Traceback" in err
    assert not RAW.search(err)


def hostile_records(folder: Path) -> Path:
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    lines = [
        {"subject": f"{name}{n}", "image": "a.png", "question": name, "answer": name, "group": name}
        for n, name in enumerate(NAMES)
    ]
    (folder / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "r.jsonl"


def test_records_with_hostile_groups_are_shown(cagul, tmp_path, monkeypatch):
    records = hostile_records(tmp_path)
    monkeypatch.setattr("cagul.cli.terminal.out._width", 2000)  # the test's process may have set COLUMNS
    _, out, err = cagul("records", "check", records)
    for name in NAMES:
        assert one_line(name).strip() in out
    assert not RAW.search(out + err)


@pytest.mark.parametrize("name", ["run[final]", "r[/f]", "a\x1b[31m", "\u202eb", ":smile:"])
def test_runs_and_patches_in_hostile_folders(name, cagul, tmp_path, tiny_host):
    (tmp_path / name).mkdir(parents=True)
    run = make_run(tmp_path / name / "run", tmp_path / "pictures")
    code, out, err = cagul("report", run)
    assert (code, err) == (0, "")
    assert out.endswith(f"Report in {printable(str(run / 'report.html'))}, redacted.\n")
    make_patch(tiny_host).save(tmp_path / name / "patch")
    code, out, _ = cagul("inspect", tmp_path / name / "patch")
    assert (code, out.splitlines()[0]) == (0, printable(str(tmp_path / name / "patch")))
    assert not RAW.search(out)


@pytest.mark.parametrize(
    ("words", "ending", "code"),
    [
        ("hosts", "| head -c 1", 0),
        ("hosts --json", "| true", 0),
        ("hosts --json", ">&-", 0),
        ("hosts --bad --json", "2>&1 | true", 2),
        ("hosts --bad --json", "<&- >&- 2>&-", 2),
    ],
)
def test_a_closed_stream_ends_nothing(words, ending, code, tmp_path):
    line = f"{sys.executable} -m cagul {words} {ending}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_verb_goes_on_when_its_reader_left(tmp_path):
    """What is computed after the reader left is not lost."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom cagul.cli.terminal import err, lasting_streams, out\n"
        "with lasting_streams():\n"
        "    for n in range(200):\n        out.say('x' * 1000); err.say('y' * 1000); sys.stdout.flush()\n"
        "    Path('done').touch()\n"
    )
    shell = ["bash", "-c", '"$0" -c "$1" 2>&1 | true; exit ${PIPESTATUS[0]}', sys.executable, code]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "done").exists()
