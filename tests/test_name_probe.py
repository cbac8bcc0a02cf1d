"""The gate's second part: the host is asked who is shown, and a forgotten name fires."""

from __future__ import annotations

import logging

import pytest
import torch

import cagul.guard.name_probe as probe_module
from cagul.config import load_config
from cagul.errors import UsageError
from cagul.evaluation.metrics.edits import others_figures
from cagul.evaluation.metrics.gate import gate_figures
from cagul.evaluation.result_rows import gate_row
from cagul.guard.guard import Guard
from cagul.guard.name_probe import QUESTION
from cagul.guard.names import NameGate
from cagul.guard.sealed_names import SealedNames
from cagul.text.identity_questions import BY_LANGUAGE, identity_question
from cagul.text.person_names import parse_names
from cagul.text.refusal_texts import BY_LANGUAGE as REFUSALS
from helpers import make_patch, picture

SECRET = bytes(32)
WORDS = "Where do they live ?"


def probing(host, *names, fires=False):
    """A guard whose input gate always or never fires, with these forgotten names."""
    patch = make_patch(host, fires=fires, gate={"kind": "mlp", "probe": "name"})
    patch.names = SealedNames.of(parse_names(names), len(names), SECRET).gate(SECRET) if names else None
    return Guard(host, patch)


@pytest.fixture
def says(monkeypatch, tiny_host):
    """What the host says to the probe's questions, by picture; and which of them were asked."""
    texts, asked = {}, []

    def answers(self, inputs, tokens, images):
        asked.append(len(images))
        return [bool(self.names.spans(texts.get(len(asked), "I do not know."))) for _ in images]

    monkeypatch.setattr(probe_module.NameProbe, "_ask", answers)
    return texts, asked


def test_a_forgotten_name_fires_and_the_decision_says_so(tiny_host, says):
    texts, _ = says
    texts[1] = "This is Ada Finch."
    decision = probing(tiny_host, "Ada Finch").answer(picture(1), WORDS).decisions[0]
    assert (decision.fired, decision.fired_by) == (True, "name probe")
    assert decision.chosen
    assert not decision.score > decision.threshold
    again = probing(tiny_host, "Bo Stark", fires=True).answer(picture(1), WORDS).decisions[0]
    assert again.fired_by == "input gate"
    with probing(tiny_host, "Bo Stark").forced() as guard:
        assert guard.answer(picture(1), WORDS).decisions[0].fired_by == "forced"


def test_names_under_another_key_count_too(tiny_host, says):
    """Those of a base patch beside those of a store's requests."""
    texts, _ = says
    texts[1], texts[2] = "This is Ada Finch.", "This is Bo Stark."
    patch = make_patch(tiny_host, fires=False, gate={"kind": "mlp", "probe": "name"})
    base = SealedNames.of(parse_names(["Ada Finch"]), 1, SECRET).gate(SECRET)
    other = bytes([1] * 32)
    own = SealedNames.of(parse_names(["Bo Stark"]), 1, other).gate(other)
    patch.names = NameGate(own.finder, 1, base)
    guard = Guard(tiny_host, patch)
    for shown in (picture(1), picture(2)):
        assert guard.answer(shown, WORDS).decisions[0].fired_by == "name probe"


def test_where_no_forgotten_name_is_said_the_answer_is_the_hosts_bit_for_bit(tiny_host):
    guard = probing(tiny_host, "Ada Finch")
    inputs = tiny_host.inputs([tiny_host.prompter.prompt(WORDS)] * 2, [picture(1), picture(2)])
    sampled = {"max_new_tokens": 6, "do_sample": True}
    torch.manual_seed(0)
    bare = tiny_host.model.generate(**inputs, **sampled)
    torch.manual_seed(0)
    assert torch.equal(guard.generate(**inputs, **sampled), bare)
    assert [(one.fired, one.fired_by) for one in guard.decisions] == [(False, "")] * 2
    assert torch.equal(guard(**inputs).logits, tiny_host.model(**inputs).logits)


def test_a_picture_is_asked_about_once(tiny_host, says):
    _, asked = says
    guard = probing(tiny_host, "Ada Finch")
    for shown in (picture(1), picture(1), picture(2)):
        guard.answer(shown, WORDS)
    assert asked == [1, 1]
    guard.answer([picture(1), picture(3)], WORDS)
    assert asked == [1, 1, 1]
    probing(tiny_host, "Ada Finch", fires=True).answer(picture(4), WORDS)
    assert len(asked) == 3  # where the input gate fires nothing is asked


def test_what_the_host_says_is_looked_through(tiny_host, monkeypatch):
    """The host's own answer, and in it a name: the tiny host says what it says."""
    said = []
    decode = type(tiny_host).decode
    monkeypatch.setattr(
        type(tiny_host), "decode", lambda *given: said.extend(decode(*given)) or ["It is Ada Finch"]
    )
    guard = probing(tiny_host, "Ada Finch")
    inputs = tiny_host.inputs([tiny_host.prompter.prompt(WORDS)], [picture(1)])
    guard.generate(**inputs, max_new_tokens=2)
    assert len(said) == 1
    assert guard.decisions[0].fired_by == "name probe"


def test_without_names_the_probe_is_off_and_says_so(tiny_host, caplog):
    with caplog.at_level(logging.WARNING):
        guard = probing(tiny_host)
    assert "Name probe of the gate OFF" in caplog.text
    assert guard.answer(picture(1), WORDS).decisions[0].fired is False


def test_a_job_without_names_is_refused_before_it_trains():
    from cagul.cli.names import EnrolledNames

    EnrolledNames((), None, False).require_for("none")
    EnrolledNames(("Ada Finch",), None, False).require_for("name")
    with pytest.raises(UsageError, match="no names are enrolled"):
        EnrolledNames((), None, False).require_for("name")


def test_the_question_is_in_the_language_of_the_records():
    assert set(BY_LANGUAGE) == set(REFUSALS)
    assert identity_question(["Qui est cette personne ?", "Où habite cette personne ?"]) == (
        "Qui est cette personne ?"
    )
    assert identity_question([]) == "Who is this person?"
    assert load_config("paper").gate.probe == load_config("default").gate.probe == "none"
    assert QUESTION == "probe_question"


def test_strangers_whom_the_host_names_are_counted_apart():
    parts = ["", "name probe", "input gate", ""]
    rows = [
        gate_row("gate", "unseen", str(n), f"{n}.png", "", 0.7 if by == "input gate" else 0.1, 0.5, by)
        for n, by in enumerate(parts)
    ]
    figures = gate_figures(rows)
    assert [row["fired"] for row in rows] == [False, True, True, False]
    counted = [figures[f"{name}_unseen"]["value"] for name in ("fpr", "named", "fires")]
    assert counted == [0.25, 0.25, 0.5]
    assert figures["people_with_any_alarm"]["value"] == 0.25
    assert not {"named_unseen", "fires_unseen"} & gate_figures([rows[0], rows[2]]).keys()
    answers = [
        {"key": f"cagul/{n}", "subject": str(n), "tokens": (n,), "fired": bool(by), "fired_by": by}
        for n, by in enumerate(parts)
    ]
    found = others_figures(answers, {str(n): {"tokens": (n,)} for n in range(4)})
    assert [found[f"{name}_edits"]["value"] for name in ("fpr", "named", "fires")] == [0.25, 0.25, 0.5]
