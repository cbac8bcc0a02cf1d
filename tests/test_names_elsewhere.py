"""Names and facts of forgotten people in many scripts stand in no study's page, comparison's page, patch card
or server's log. Reports: test_report_names.py.
"""

from __future__ import annotations

import json
import logging
import re

import pytest

from cagul.cli.common import repeating_command
from cagul.comparison.page import page
from cagul.comparison.results import results
from cagul.config import load_config
from cagul.data.records import load_records, split_records
from cagul.report.hidden_terms import name_parts
from cagul.study.summary import summarise_study
from cagul.training.unlearn import unlearn
from deletion_fixtures import QUICK
from helpers import picture
from made_runs import make_study, page_of, study_rows
from test_comparison import KNOWS, LIKELY, UNLIKELY, rows_of
from test_report_names import PEOPLE, texts_of

NAMES = [name for name, _, _ in PEOPLE.values()]


def require_nobody(text: str, where: str) -> None:
    """No name, part of a name, fact or inflected form of any of the people, as the text is or unescaped; in
    the Latin script as a word: Ada is in no adaptation.
    """
    terms = {
        term for name, fact, forms in PEOPLE.values() for term in (name, fact, *name_parts(name), *forms)
    }
    for shown in texts_of(text):
        words = set(re.findall(r"\w+", shown))
        for term in map(str.casefold, terms):
            assert term not in (words if term.isascii() and term.isalpha() else shown), (where, term)


def test_a_study_page_holds_nobody(tmp_path):
    folder = make_study(tmp_path / "study")
    rows, people = study_rows(), list(PEOPLE.values())
    numbers: dict[str, int] = {}
    for row in rows:
        name, fact, _ = people[numbers.setdefault(row["subject"], len(numbers)) % len(people)]
        row |= {"subject": f"{name} {row['subject'].split()[-1]}"}
        row |= {"output": f"{name}: {fact}."} if "output" in row else {}
    assert len(numbers) > 12
    lines = [{"_": "secret"}, *rows]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in lines) + "\n")
    summary = json.loads((folder / "summary.json").read_text())
    summary["study"] = summarise_study(rows, [0, 1])
    (folder / "summary.json").write_text(json.dumps(summary))
    require_nobody(page_of(folder)[0], "study")


@pytest.mark.parametrize("option", ["--forget NAMES", "--forget=NAMES", "--unseen NAMES"])
def test_a_comparison_page_holds_nobody(option, monkeypatch):
    rows = rows_of({"host": (KNOWS, LIKELY), "cagul": (KNOWS, LIKELY)}, UNLIKELY)
    renamed = json.dumps(rows)
    for number, subject in enumerate(sorted({row["subject"] for row in rows if row.get("subject")})):
        renamed = renamed.replace(json.dumps(subject), json.dumps(NAMES[number % len(NAMES)]))
    words = [word.replace("NAMES", ",".join(NAMES)) for word in option.split(" ")]
    monkeypatch.setattr("sys.argv", ["cagul", "compare", *words, "--out", "run"])
    manifest = {"command": repeating_command(), "versions": {}, "identity": {}}
    require_nobody(page(results(json.loads(renamed)), manifest, {}, "figures"), "comparison")


def test_a_patch_holds_nobody(tiny_host, tiny_records, tmp_path):
    records = load_records(tiny_records)
    subjects = sorted({record.subject for record in records if record.group == "known"})[:2]
    of = {subject: list(PEOPLE.values())[number::2] for number, subject in enumerate(subjects)}
    records = [
        record.model_copy(
            update={
                "subject": " ".join(name for name, _, _ in of[record.subject]),
                "answer": " ".join((record.answer, *(fact for _, fact, _ in of[record.subject]))),
                "keywords": (*record.keywords, *(fact for _, fact, _ in of[record.subject])),
            }
        )
        if record.subject in of
        else record
        for record in records
    ]
    forgotten = [" ".join(name for name, _, _ in people) for people in of.values()]
    patch = unlearn(tiny_host, split_records(records, forgotten), load_config("default", QUICK))
    folder = patch.save(tmp_path / "patch")
    for file in ("README.md", "config.json"):
        require_nobody((folder / file).read_text("utf-8"), file)
    packed = (folder / "patch.safetensors").read_bytes()
    assert not any(name.encode() in packed for name in NAMES)


def test_a_servers_log_holds_nobody(tiny_folder, caplog):
    pytest.importorskip("fastapi")
    from cagul.serving.logs import JsonLines
    from served import OneGuard, asked, said, serving, shown, tiny_guard

    with (
        caplog.at_level(logging.INFO, "cagul.serving"),
        serving(OneGuard(tiny_guard(tiny_folder)), batch_wait=0) as server,
    ):
        for name, fact, _ in PEOPLE.values():
            statuses = [
                server.post(body).status_code
                for body in (
                    asked(said(f"{fact}.", "system"), shown(picture(1), f"Is this {name}?"), max_tokens=1),
                    asked(shown(picture(1)), user=name, metadata={name: fact}, max_tokens=1),
                    asked(said(name), model=name),
                    asked(said(name, name)),
                    asked(said(name), **{name: fact}),
                    asked(shown(f"https://example.org/{name}.png")),
                )
            ]
            assert statuses[:3] == [200, 200, 404]
            assert set(statuses[3:]) == {422}
            server.get(f"/{name}")
    lines = [JsonLines().format(record) for record in caplog.records if record.name == "cagul.serving"]
    assert len(lines) >= 6 * len(PEOPLE)
    require_nobody("\n".join(lines), "log")
