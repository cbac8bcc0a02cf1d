"""A verb's module is imported when the verb is called, and help is asked without torch. Ctrl-C says what is
kept.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import cagul.cli.app
from cagul.cli.app import GROUPS, VERBS, load, main
from cagul.cli.terminal import INTERRUPTED, NOTHING_WRITTEN, RESUMES

ALL = [([name], verb) for name, verb in VERBS.items()] + [
    ([group, name], verb) for group, (_, verbs) in GROUPS.items() for name, verb in verbs.items()
]

HELP = """
import sys
from typer.testing import CliRunner
from cagul.cli.app import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
shared = {"cagul.cli." + name for name in ("app", "common", "options", "terminal")}
assert {name for name in sys.modules if name.startswith("cagul.cli.")} <= shared
for words in %r:
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0 and "--json" in shown.stdout, words
    assert "torch" not in sys.modules, words
"""


def test_help_imports_no_verb_and_a_verbs_help_no_torch():
    code = HELP % [words for words, _ in ALL]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def interrupted(words, verb, monkeypatch, capsys):
    """Exit code and standard error of a verb that is interrupted where it begins."""

    def stop() -> None:
        raise KeyboardInterrupt

    if (text := INTERRUPTED.get(load(verb))) is not None:
        monkeypatch.setitem(INTERRUPTED, stop, text)
    monkeypatch.setattr(cagul.cli.app, "load", lambda verb: stop)
    monkeypatch.setattr("sys.argv", ["cagul", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("words", "verb"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_an_interrupted_verb_says_what_holds(words, verb, monkeypatch, capsys):
    resumable = {"demo", "memorise", "unlearn", "evaluate", "attack", "scan", "compare", "study"}
    code, said = interrupted(words, verb, monkeypatch, capsys)
    assert code == 130
    assert said.startswith("Interrupted.")
    if words[0] == "records":
        assert said == f"Interrupted. {NOTHING_WRITTEN}"
    elif words[0] in resumable - {"unlearn"}:
        assert said == f"Interrupted. {RESUMES}"
    elif words[0] != "requests":
        assert ("to resume" in said) == (words[0] in resumable)
    assert "goes on" not in said


def test_an_interrupt_while_a_module_is_imported_ends_the_same_way(monkeypatch, capsys):
    def stop(verb):
        raise KeyboardInterrupt

    monkeypatch.setattr(cagul.cli.app, "load", stop)
    monkeypatch.setattr("sys.argv", ["cagul", "hosts"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("un", {"unlearn"}),
        ("unlearn --fo", {"--forget"}),
        ("records ch", {"check"}),
        ("demo --path h", {"host"}),
    ],
)
def test_a_shell_completes_verbs_options_and_values(words, found, monkeypatch, capsys):
    """As bash asks, after `cagul --install-completion`."""
    monkeypatch.setattr("sys.argv", ["cagul"])
    monkeypatch.setenv("_CAGUL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"cagul {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert set(capsys.readouterr().out.split()) == found
