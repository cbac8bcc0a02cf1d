"""Every verb on a host and records that are not the demo's: another tokenizer, template, tower and people."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from cagul.cli.app import app, main
from cagul.cli.common import repeating_command
from cagul.errors import DataError, PatchError, UsageError
from cagul.text.refusals import REFUSALS
from helpers import save_tiny_host

QUICK = [
    "--set",
    "training.steps=6",
    "--set",
    "training.batch=4",
    "--set",
    "gate.augment=1",
    "--set",
    "training.augment=0",
    "--set",
    "selection.k=4",
]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def patch(tiny_folder, tiny_records, tmp_path_factory):
    out = tmp_path_factory.mktemp("patch") / "p"
    result = run(
        "unlearn",
        "--host",
        tiny_folder,
        "--records",
        tiny_records,
        "--forget",
        "p0",
        "--out",
        out,
        *QUICK,
        "--json",
    )
    assert result.exception is None, result.exception
    data = json.loads(result.stdout)
    assert data["patch"] == str(out)
    assert data["facts"]["steps"] == 6
    assert [p.name for p in out.parent.iterdir()] == ["p"]  # no work folder is left
    return out


def test_every_verb_has_help():
    names = [command.name for command in app.registered_commands]
    assert sorted(names) == [
        "ask",
        "attack",
        "compare",
        "demo",
        "doctor",
        "evaluate",
        "hosts",
        "init",
        "inspect",
        "manifest",
        "memorise",
        "report",
        "scan",
        "serve",
        "study",
        "unlearn",
    ]
    groups = {
        group.name: [c.name for c in group.typer_instance.registered_commands]
        for group in app.registered_groups
    }
    assert groups == {
        "records": ["check", "convert"],
        "requests": [
            "init",
            "add",
            "revoke",
            "withdraw",
            "list",
            "extend",
            "refuse",
            "show",
            "verify",
            "export-certificate",
            "backup",
            "restore",
            "rotate-key",
            "head",
            "verify-certificate",
        ],
    }
    for name in [
        *map(str.split, names),
        *([group, verb] for group, verbs in groups.items() for verb in verbs),
    ]:
        result = run(*name, "--help")
        assert result.exception is None
        assert "--json" in result.stdout


def test_nothing_about_the_forgotten_is_in_the_patch(patch):
    readable = (patch / "config.json").read_text() + (patch / "README.md").read_text()
    everything = b"".join(path.read_bytes() for path in patch.iterdir())
    assert "p0" not in readable
    for secret in (b"Ada Finch", b"Oslo", b"Who is", b"p0_0.png"):
        assert secret not in everything


def test_ask(tiny_folder, tiny_records, patch):
    image = tiny_records.parent / "p0_0.png"
    bare = run("ask", "Who is this person ?", "--host", tiny_folder, "--image", image, "--max-new-tokens", 4)
    assert bare.exception is None
    assert "gate" not in bare.stdout
    guarded = run(
        "ask", "Who is this person ?", "--host", tiny_folder, "--patch", patch, "--image", image, "--json"
    )
    data = json.loads(guarded.stdout)
    assert set(data) == {"answer", "decisions"}
    assert data["decisions"][0].keys() >= {
        "score",
        "threshold",
        "fired",
        "chosen",
        "fallback",
        "milliseconds",
    }
    without = json.loads(
        run("ask", "Who is Ada Finch ?", "--host", tiny_folder, "--patch", patch, "--json").stdout
    )
    assert without["decisions"] == []


def test_evaluate_resumes_and_counts(tiny_folder, tiny_records, patch, tmp_path):
    command = (
        "evaluate",
        "--host",
        tiny_folder,
        "--patch",
        patch,
        "--records",
        tiny_records,
        "--forget",
        "p0",
        "--full",
        "--edits",
        "none",
        "--out",
        tmp_path / "run",
        "--json",
    )
    first = json.loads(run(*command).stdout)
    forget = first["methods"]["cagul"]["forget"]
    assert forget["keyword_recall"]["n"] == 2 * 3
    assert forget["ape"]["n"] == 1
    assert forget["views"]["n"] == 2 * 2
    assert first["host"]["sha256_before"] == first["host"]["sha256_after"]
    rows = (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
    cut = tmp_path / "run" / "rows.jsonl"
    cut.write_text("\n".join(rows[: len(rows) // 2]))
    again = json.loads(run(*command).stdout)
    assert sorted(cut.read_text().splitlines()[1:]) != []
    without_times = [{k: m for k, m in s["methods"]["cagul"].items() if k != "cost"} for s in (first, again)]
    assert without_times[0] == without_times[1]
    assert len(cut.read_text().splitlines()) == len(rows)


def test_evaluate_against_a_retain_host_in_fiubenchs_arithmetic(tiny_folder, tiny_records, tmp_path):
    common = [
        "evaluate",
        "--host",
        tiny_folder,
        "--records",
        tiny_records,
        "--forget",
        "p0",
        "--edits",
        "none",
        "--out",
        tmp_path / "run",
    ]
    result = run(*common, "--compat", "fiubnch")
    assert isinstance(result.exception, UsageError)
    assert "The arithmetic of 'fiubnch' is not known.\n  Did you mean 'fiubench'?" in str(result.exception)
    result = run(
        *common, "--retain-host", save_tiny_host(tmp_path / "other", seed=1), "--compat", "fiubench", "--json"
    )
    assert result.exception is None, result.exception
    found = json.loads(result.stdout)["methods"]["host"]
    assert found["compat_fiubench"]["compat"] == "fiubench"
    assert found["forget"]["probability"]["n"] == 2
    assert "paraphrased answer" in found["forget"]["forget_quality_p"]["absent"]  # these records have none


def test_a_patch_is_not_overwritten(tiny_folder, tiny_records, patch):
    before = (patch / "config.json").read_bytes()
    result = run(
        "unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p1", "--out", patch, *QUICK
    )
    assert isinstance(result.exception, UsageError)
    assert "is already there" in str(result.exception)
    assert (patch / "config.json").read_bytes() == before


def test_unlearn_ends_in_a_verdict_that_the_patch_keeps(patch):
    """The tiny host is random: a patch for it has nothing to hide, or hides what is told by chance."""
    facts = json.loads((patch / "config.json").read_text())["facts"]
    assert facts["checks"]["part"] == "verdict"
    assert facts["verdict"]["facts"] == 2
    text = f"{facts['verdict']['word']}. {facts['verdict']['sentence']}"
    assert f"| verdict | {text} |" in (patch / "README.md").read_text()
    assert text[:20] in run("inspect", patch).stdout


def test_the_language_of_the_refusals_is_said_everywhere(patch, tiny_folder, tiny_records, tmp_path):
    facts = json.loads(run("inspect", patch, "--json").stdout)["facts"]["refusals"]
    assert (facts["language"], facts["count"]) == ("English", len(REFUSALS))
    text = f"{len(REFUSALS)} refusals in English ({facts['why']})"
    assert re.fullmatch(r"\d+ of \d+ different private questions show it", facts["why"])
    assert f"| trained towards | {text} |" in (patch / "README.md").read_text()
    assert text in " ".join(re.sub("[│┃]", " ", run("inspect", patch).stdout).split())
    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", "--dry-run"]
    words += ["--out", tmp_path / "p", *QUICK]
    said = " ".join(run(*words, "--set", "training.target=stranger").stdout.split())
    own = "what the host itself says about strangers"
    assert f"It is trained towards {own}; where it states facts about them, {text}." in said
    by_list = " ".join(run(*words, "--set", "training.target=refusals").stdout.split())
    assert f"It is trained towards {text}." in by_list
    assert json.loads(run(*words, "--json").stdout)["refusals"] == facts


def test_a_check_that_fails_costs_no_training(tiny_folder, tiny_records, tmp_path, monkeypatch):
    import cagul.evaluation.checks as checks

    def broken(*arguments, **options):
        raise DataError("A view is broken.", "Copy it again.", "picture")

    monkeypatch.setattr(checks, "held_out_checks", broken)
    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", *QUICK]
    named = ["--name", "Ada Finch", "--names-key", tmp_path / "keys" / "k"]
    result = run(*words, *named, "--out", tmp_path / "p")
    assert isinstance(result.exception, DataError)
    assert "but its check failed" in " ".join(result.stderr.split())
    assert (tmp_path / "p.names").is_file()
    assert json.loads((tmp_path / "p" / "config.json").read_text())["facts"]["names_sealed"] == 1
    assert "not checked: run `cagul evaluate`" in (tmp_path / "p" / "README.md").read_text()


def scripted(monkeypatch, *states):
    """Let the checks of training find these states, one after the other."""
    import cagul.evaluation.stopping as stopping

    found = iter(states)

    class Scripted:
        def __init__(self, *arguments, **options):
            pass

        def __call__(self, patch):
            state = next(found)
            if isinstance(state, Exception):
                raise state
            return state

    monkeypatch.setattr(stopping, "StoppingChecks", Scripted)


def test_unlearn_goes_on_while_checks_are_not_passed(tiny_folder, tiny_records, tmp_path, monkeypatch):
    from cagul.training.stopping import CheckedState

    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", *QUICK]
    scripted(monkeypatch, CheckedState(0.4, 0.5, None, False), CheckedState(0.01, 0.95, 0.97, True))
    result = run(*words, "--out", tmp_path / "p")
    said, printed = (" ".join(text.split()) for text in (result.stderr, result.stdout))
    assert (
        "Held-out checks after step 6 of at most 18: leak where the gate fires 0.40, refusal rate 0.50: not "
        "passed. Held-out checks after step 12 of at most 18: leak where the gate fires 0.01, refusal rate "
        "0.95, visual accuracy 0.97: passed."
    ) in said
    assert "Trained for 12 steps: held-out checks passed after step 12." in printed
    facts = json.loads((tmp_path / "p" / "config.json").read_text())["facts"]
    assert [one["step"] for one in facts["training_checks"]] == [6, 12]
    scripted(monkeypatch, *[CheckedState(leak, 1.0, 1.0, False) for leak in (0.2, 0.1, 0.3)])
    printed = " ".join(run(*words, "--out", tmp_path / "best").stdout.split())
    assert (
        "Trained for 18 steps: all 18 steps done, held-out checks not passed. The best state is kept, that "
        "after step 12."
    ) in printed


def test_unlearn_asks_nothing_where_the_config_says_so(tiny_folder, tiny_records, tmp_path, monkeypatch):
    scripted(monkeypatch, AssertionError())
    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", *QUICK]
    assert (
        "6 steps: all steps done" in run(*words, "--set", "training.rounds=1", "--out", tmp_path / "p").stdout
    )


def test_unlearn_takes_at_most_its_minutes(tiny_folder, tiny_records, tmp_path):
    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", *QUICK]
    printed = run(*words, "--minutes", "1e-9", "--out", tmp_path / "p").stdout
    assert "Trained for 1 steps: 1e-09 minutes were over after step 1." in printed
    saved = json.loads((tmp_path / "p" / "config.json").read_text())
    assert saved["config"]["training"]["minutes"] == 1e-9
    result = run(*words, "--minutes", "-1", "--out", tmp_path / "q")
    assert isinstance(result.exception, UsageError)
    assert "training.minutes" in str(result.exception)


def test_checks_in_training_that_fail_cost_no_training(tiny_folder, tiny_records, tmp_path, monkeypatch):
    scripted(monkeypatch, DataError("A view is broken.", "Copy it again.", "picture"))
    words = ["unlearn", "--host", tiny_folder, "--records", tiny_records, "--forget", "p0", *QUICK]
    result = run(*words, "--out", tmp_path / "p")
    said = " ".join(result.stderr.split())
    assert "The held-out checks failed, so training ends: A view is broken" in said
    assert json.loads((tmp_path / "p" / "config.json").read_text())["facts"]["steps"] == 6


def test_inspect(patch):
    assert json.loads(run("inspect", patch, "--json").stdout)["personal_data"] is True
    assert "face templates" in run("inspect", patch).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", "Who?", "--host", "nowhere"], 4, "There is no folder nowhere."),
        (["ask", "Who?", "--image", "none.png"], 3, "There is no picture none.png"),
        (["ask", " "], 2, "The question is empty"),
        (["ask", "Who?", "--store", "none"], 2, "--store needs --key"),
        (["requests", "list", "--store", "none"], 6, "There is no store none"),
        (["ask", "Who?", "--patch", "none"], 5, "There is no patch folder none"),
        (["inspect", "none"], 5, "There is no patch folder none"),
        (["evaluate", "--out", "x", "--host", "h"], 2, "go together"),
        (
            ["unlearn", "--host", "h", "--records", "none", "--forget", "a", "--out", "x"],
            3,
            "Cannot read records none",
        ),
        (
            [
                "unlearn",
                "--host",
                "h",
                "--records",
                "none",
                "--forget",
                "a",
                "--out",
                "x",
                "--config",
                "defalt",
            ],
            2,
            "Did you mean 'default'",
        ),
        (["bogus"], 2, "No such command"),
        (["ask"], 2, "Missing argument"),
        (["unlearn", "--host", "h"], 2, "Missing option"),
    ],
)
def test_mistakes_end_in_a_message_and_their_exit_code(arguments, code, says, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["cagul", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    shown = capsys.readouterr()
    assert says in " ".join((shown.err + shown.out).split())
    assert "Traceback" not in shown.err


def test_a_host_of_an_unproven_family_is_refused_by_name(tmp_path, monkeypatch, capsys):
    from cagul.errors import UnsupportedHost
    from cagul.host.families import REFUSED, family_of

    for name, reason in REFUSED.items():
        with pytest.raises(UnsupportedHost, match=reason):
            family_of(name)
    with pytest.raises(UnsupportedHost, match="'lava' are refused.*not been proven.*"):
        family_of("lava")


def test_the_repeating_command_names_nobody(monkeypatch):
    given = ["cagul", "evaluate", "--forget", "ann,bob", "--unseen=cy", "--out", "my run"]
    monkeypatch.setattr("sys.argv", given)
    assert repeating_command() == "cagul evaluate --forget @SUBJECTS --unseen=@SUBJECTS --out 'my run'"
    monkeypatch.setattr("sys.argv", ["/somewhere/cagul", "evaluate", "--forget", "@list.txt"])
    assert repeating_command() == "cagul evaluate --forget @list.txt"


def test_unlearn_names_the_groups_that_it_trains_on(tiny_folder, tiny_records, tmp_path):
    """A held-out group named in another language is free text, and trained on: that is said."""
    rows = [json.loads(line) for line in tiny_records.read_text().splitlines()]
    for row in rows:
        row |= {"group": "inconnu"} if row["subject"] in ("p1", "p2") else {}
    records = tiny_records.with_name("other-groups.jsonl")
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["unlearn", "--host", tiny_folder, "--records", records, "--forget", "p0", *QUICK]
    result = run(*words, "--out", tmp_path / "p", "--dry-run", "--json")
    records.unlink()
    assert result.exception is None, result.exception
    said = " ".join(result.stderr.split())
    assert "Training opens the groups 'inconnu' (2 people), 'known' (3 people). Held out are unseen" in said


def test_a_dry_run_writes_nothing(tiny_folder, tiny_records, tmp_path):
    common = [
        "unlearn",
        "--host",
        tiny_folder,
        "--records",
        tiny_records,
        "--forget",
        "p0",
        "--out",
        tmp_path / "p",
        *QUICK,
    ]
    before = sorted(tiny_records.parent.iterdir())
    result = run(*common, "--dry-run", "--json")
    assert result.exception is None, result.exception
    found = json.loads(result.stdout)
    assert found["steps"] == 6
    assert found["people"] == {
        "forget": 1,
        "retain": 5,
        "unseen": 2,
        "calibration": 0,
        "look_alike": 0,
        "no_person": 0,
    }
    printed = " ".join(run(*common, "--dry-run").stdout.split())
    assert "6 steps, at most 18 while held-out checks are not passed" in printed
    assert "with all rounds" in printed
    asked = f", {found['strangers_asked']} questions about strangers in a round towards the host's own manner"
    assert asked in printed
    assert not list(tmp_path.iterdir())
    assert sorted(tiny_records.parent.iterdir()) == before


def test_people_are_added_to_a_patch(tiny_folder, tiny_records, patch, tmp_path):
    out = tmp_path / "both"
    common = ["--host", tiny_folder, "--records", tiny_records, "--from", patch]
    result = run("unlearn", *common, "--forget", "p3", "--out", out)
    assert result.exception is None, result.exception
    assert "Added to the 1 person of" in result.stdout
    assert json.loads((out / "config.json").read_text())["facts"]["people"] == 2
    assert json.loads((patch / "config.json").read_text())["facts"]["people"] == 1
    result = run("unlearn", *common, "--forget", "p3", "--out", tmp_path / "other", "--set", "selection.k=5")
    assert isinstance(result.exception, PatchError)
    assert "selection.k=5 (the patch has 4)" in str(result.exception)


def test_a_dtype_is_chosen_or_refused(tiny_folder, tiny_records, tmp_path):
    picture = tiny_records.parent / "p0_0.png"
    result = run(
        "ask", "--host", tiny_folder, "--image", picture, "--dtype", "bfloat16", "--json", "who is this ?"
    )
    assert result.exception is None, result.exception
    result = run("ask", "--host", tiny_folder, "--image", picture, "--dtype", "bf16", "who is this ?")
    assert isinstance(result.exception, UsageError)
    assert "bfloat16" in str(result.exception)


def test_hosts_lists_the_proven_and_the_refused():
    from cagul.host.families import PROVEN, REFUSED

    told = run("hosts").stdout
    assert all(name in told for name in (*PROVEN, *REFUSED))
    assert json.loads(run("hosts", "--json").stdout) == {
        "proven": {k: f.title for k, f in PROVEN.items()},
        "refused": REFUSED,
    }


def test_the_version_is_printed():
    from cagul import __version__

    assert run("--version").stdout == f"cagul {__version__}\n"


def test_a_refused_job_leaves_nothing_behind(tiny_folder, tiny_records, tmp_path):
    common = ["unlearn", "--records", tiny_records, "--forget", "p0", "--out", tmp_path / "p"]
    for host, settings in (("no/such/host", []), (tiny_folder, ["--set", "selection.k=900"])):
        assert run(*common, "--host", host, *settings).exception is not None
        assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_has_its_own_remedy(tiny_folder):
    result = run("ask", "Who?", "--host", tiny_folder, "--device", "cuda:7")
    assert "does not go to the device 'cuda:7'" in str(result.exception)
    assert "cagul doctor" in str(result.exception)


def test_evaluate_says_when_the_patch_forgets_others_too(tiny_folder, tiny_records, patch, tmp_path):
    command = [
        "evaluate",
        "--host",
        tiny_folder,
        "--patch",
        patch,
        "--records",
        tiny_records,
        "--edits",
        "none",
        "--out",
        tmp_path / "run",
        "--json",
    ]
    result = run(*command, "--forget", "p0,p1")
    assert result.exception is None, result.exception
    assert "The patch forgets 1 person, --forget names 2" in " ".join(result.stderr.split())
