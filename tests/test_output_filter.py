"""The output filter: answers that would say a value of a forgotten person."""

from __future__ import annotations

import queue
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import TextIteratorStreamer

from cagul.data.groups import HELD_OUT_GROUPS
from cagul.data.records import load_records, split_records
from cagul.errors import GuardBypass, UsageError
from cagul.guard.guard import Guard
from cagul.guard.output_filter import FilterFacts, LearnedValues
from cagul.guard.patch import Patch
from cagul.guard.sealed_names import SEALED_VALUES, SealedNames, read_key, seal_names, sealed_of, sealed_path
from cagul.serving.engine import Done, Engine, Job
from cagul.serving.sampling import Sampling
from cagul.text.normal import fold
from cagul.training.values import PROBES, learn_values
from families import FAMILIES, shared_host
from helpers import REFUSAL, filtered, make_patch, picture
from served import OneGuard

QUESTION = "Where do they live ?"
ALWAYS = -2.0  # a lower threshold below any cosine


def said(host, pictures=1, question=QUESTION):
    """What the host says, and two of its words that follow each other and are not the question's."""
    answer = (
        Guard(host, make_patch(host, fires=False))
        .answer([picture(n) for n in range(pictures)], question)
        .text
    )
    asked = set(question.lower().split())
    words = [word for word in answer.split() if word.isalpha()]
    pairs = zip(words, words[1:], strict=False)
    return answer, next(
        f"{a} {b}" for a, b in pairs if f"{a} {b}" in answer and not {a.lower(), b.lower()} <= asked
    )


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


def asked(host, *questions, pictures=1):
    prompts = [host.prompter.prompt(question, pictures) for question in questions]
    return host.inputs(prompts, [picture(n) for n in range(pictures)] * len(questions))


def test_a_silent_filter_leaves_every_output_as_it_is(host):
    guard = filtered(host, "Nobody Else")
    inputs, options = asked(host, QUESTION), host.generation_options(8)
    assert torch.equal(guard.generate(**inputs, **options), host.generate(dict(inputs), **options))
    assert guard.withheld == ()
    assert not guard.answer(picture(0), QUESTION).withheld
    assert not guard.decisions[0].withheld


def test_a_value_is_withheld_and_the_answer_is_that_of_the_forced_gate(host):
    answer, value = said(host)
    guard = filtered(host, value)
    given = guard.answer(picture(0), QUESTION)
    with guard.forced(), guard.unfiltered():
        forced = guard.answer(picture(0), QUESTION).text
    assert given.withheld
    assert given.decisions[0].withheld
    assert not given.decisions[0].fired
    assert value not in given.text
    assert given.text == (forced if value not in forced else REFUSAL)
    with guard.unfiltered():
        assert guard.answer(picture(0), QUESTION).text == answer
    assert not guard.answer(picture(0), QUESTION, max_new_tokens=1).withheld
    assert Guard(host, guard.patch).answer(picture(0), QUESTION).text == answer  # off unless asked for


def test_a_refusal_stands_where_there_is_no_picture(tiny_host):
    answer, value = said(tiny_host, pictures=0)
    given = filtered(tiny_host, value).answer(None, QUESTION)
    assert (given.text, given.withheld) == (REFUSAL, True)
    assert filtered(tiny_host, value).answer(None, f"{QUESTION} {value}").text != REFUSAL


def test_one_row_of_a_batch_is_answered_again_alone(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    inputs, options = asked(tiny_host, QUESTION, "Who is it ?"), tiny_host.generation_options(48)
    before = tiny_host.generate(dict(inputs), **options)
    after = guard.generate(**inputs, **options)
    start = inputs["input_ids"].shape[1]
    texts = tiny_host.decode(start, before)
    rows = tuple(n for n, text in enumerate(texts) if value.lower() in text.lower())
    assert guard.withheld == rows
    assert 0 in rows
    for n, text in enumerate(tiny_host.decode(start, after)):
        assert (text == texts[n]) is (n not in rows)
    assert torch.equal(after[:, :start], inputs["input_ids"])


def test_a_shared_value_counts_where_the_picture_is_near_or_a_name_is_asked_for(tiny_host):
    answer, value = said(tiny_host)
    assert filtered(tiny_host, value, unique=False).answer(picture(0), QUESTION).text == answer
    assert filtered(tiny_host, value, unique=False, near=ALWAYS).answer(picture(0), QUESTION).withheld
    named = "Where do Ada Finch live ?"
    unnamed = filtered(tiny_host, "Nobody Else", names=["Ada Finch"]).answer(None, named).text
    words = [word for word in unnamed.split() if word.isalpha() and word.lower() not in named.lower()]
    if words:
        guard = filtered(tiny_host, words[0], unique=False, names=["Ada Finch"])
        assert guard.answer(None, named).withheld


def test_a_shared_value_counts_where_the_gate_fires_whatever_the_score(tiny_host, monkeypatch):
    """The name probe fires at low scores too."""
    guard = filtered(tiny_host, "Nobody Else", fires=True)
    text = guard.answer(picture(0), QUESTION).text
    value = next(w for w in text.split() if w.isalpha() and w.lower() not in QUESTION.lower())
    assert filtered(tiny_host, value, unique=False, fires=True).answer(picture(0), QUESTION).withheld
    probed = filtered(tiny_host, value, unique=False)
    monkeypatch.setattr(probed, "fires", lambda *_: {0: "name probe"})
    assert probed.answer(picture(0), QUESTION).withheld
    stranger = filtered(tiny_host, value, unique=False)
    with stranger.forced():
        assert not stranger.answer(picture(0), QUESTION).withheld


def test_the_answer_of_a_worker_can_be_watched(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    encoded = guard.encode(asked(tiny_host, "Who is it ?", QUESTION))
    output = tiny_host.generate(encoded.inputs, encoded.tokens, **tiny_host.generation_options(48))
    text = tiny_host.decode(encoded.inputs["input_ids"].shape[1], output)[1]
    assert guard.watch(1).says(text)
    assert not guard.watch(1).says(REFUSAL)
    guard.encode(asked(tiny_host, f"{QUESTION} {value}"))
    assert not guard.watch(0).says(text)
    assert Guard(tiny_host, guard.patch).watch(0) is None


def test_a_cache_of_several_answers_is_gone_on_with(tiny_host):
    from transformers import DynamicCache

    guard, cache = filtered(tiny_host, "Nobody Else"), DynamicCache()
    options = {"max_new_tokens": 2, "do_sample": False, "past_key_values": cache}
    first = guard.generate(**asked(tiny_host, QUESTION), **options, num_beams=2, num_return_sequences=2)
    again = guard.generate(input_ids=first, attention_mask=torch.ones_like(first), **options)
    assert len(again) == 2


def test_a_stream_shows_nothing_of_a_value(tiny_host):
    answer, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    streamed = "".join(guard.stream(picture(0), QUESTION))
    assert value.lower() not in streamed.lower()
    assert streamed.endswith(guard.answer(picture(0), QUESTION).text)
    assert guard.withheld == (0,)
    silent = filtered(tiny_host, "Nobody Else")
    assert "".join(silent.stream(picture(0), QUESTION)) == answer
    with guard.unfiltered():
        assert "".join(guard.stream(picture(0), QUESTION)) == answer


def test_a_streamer_of_the_callers_own_is_held_back_too(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    streamer = TextIteratorStreamer(tiny_host.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    guard.generate(**asked(tiny_host, QUESTION), **tiny_host.generation_options(48), streamer=streamer)
    assert value.lower() not in "".join(streamer).lower()


@pytest.mark.parametrize(
    ("ids", "pad", "kept"),
    [
        ([5, 6, 2, 0, 0], 0, [5, 6, 2]),
        ([5, 6, 2, 2, 2], 2, [5, 6, 2]),
        ([5, 0, 6, 0], 0, [5, 0, 6]),
        ([5, 6], None, [5, 6]),
    ],
)
def test_a_streamer_gets_no_padding_of_a_withheld_answer(ids, pad, kept):
    from cagul.guard.output_filter import without_padding

    tokenizer = SimpleNamespace(eos_token_id=2, pad_token_id=pad)
    assert without_padding(torch.tensor(ids), tokenizer).tolist() == kept


def test_several_answers_and_what_is_told_beside_them_go_with_the_withheld_one(tiny_host):
    _, value = said(tiny_host)
    guard = filtered(tiny_host, value)
    output = guard.generate(
        **asked(tiny_host, QUESTION),
        max_new_tokens=48,
        num_beams=2,
        num_return_sequences=2,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    texts = tiny_host.processor.tokenizer.batch_decode(output.sequences, skip_special_tokens=True)
    assert len(texts) == 2
    if guard.withheld:
        assert output.scores is None
        assert output.past_key_values is None


def test_a_cache_of_a_withheld_answer_is_not_taken_again(tiny_host):
    from transformers import DynamicCache

    _, value = said(tiny_host)
    guard, cache = filtered(tiny_host, value), DynamicCache()
    inputs = asked(tiny_host, QUESTION)
    output = guard.generate(**inputs, **tiny_host.generation_options(48), past_key_values=cache)
    assert guard.withheld == (0,)
    with pytest.raises(GuardBypass, match="not seen"):
        guard.generate(
            **inputs | {"input_ids": output, "attention_mask": torch.ones_like(output)},
            **tiny_host.generation_options(4),
            past_key_values=cache,
        )


class Serving:
    """Answers one job by an engine over a guard."""

    def __init__(self, guard):
        self.guard = guard

    def answer(self, question=QUESTION, pictures=1, streaming=False):
        host, shown = self.guard.host, [picture(n) for n in range(pictures)]
        prompt = host.prompter.prompt(question, pictures)
        events = queue.Queue()
        sampling = Sampling(temperature=0.0, max_tokens=48)
        job = Job(prompt, shown, host.inputs([prompt], shown), [sampling], events.put, streaming)
        engine = Engine(OneGuard(self.guard))
        try:
            engine.submit(job)
            pieces = []
            while not isinstance(event := events.get(timeout=60), Done):
                pieces.append(event.text)
            return event.choices[0], "".join(pieces)
        finally:
            engine.stop()


@pytest.mark.parametrize("pictures", [0, 1])
def test_the_server_withholds_a_value_and_answers_again(tiny_host, pictures):
    answer, value = said(tiny_host, pictures)
    guard = filtered(tiny_host, value)
    (text, finish, count), _ = Serving(guard).answer(pictures=pictures)
    assert text == guard.answer([picture(n) for n in range(pictures)], QUESTION).text
    assert finish in ("stop", "length")
    assert count > 1
    (streamed, _, _), pieces = Serving(guard).answer(pictures=pictures, streaming=True)
    assert pieces == streamed
    assert value.lower() not in pieces.lower()
    assert pieces.endswith(text)
    for silent in (Guard(tiny_host, guard.patch), filtered(tiny_host, "Nobody Else")):
        (whole, _, _), pieces = Serving(silent).answer(pictures=pictures, streaming=True)
        assert whole == pieces == answer


# -- the sealed file


LEARNED = LearnedValues((("Ada Finch", True), ("Oslo", False)), FilterFacts(0.5, 3, REFUSAL), 10, 1)


@pytest.fixture
def sealed(tiny_host, tmp_path):
    """A patch folder with values beside it, and its key."""
    patch, folder, key = make_patch(tiny_host), tmp_path / "patch", tmp_path / "apart" / "key"
    seal_names(patch, folder, ["Bo Stark"], key, values=LEARNED)
    patch.save(folder)
    return folder, key


def test_values_are_sealed_beside_the_names_and_found_with_their_key(sealed):
    folder, key = sealed
    loaded = Patch.load(folder, key)
    assert (loaded.names.count, loaded.values.count) == (1, 2)
    assert loaded.values.facts == LEARNED.facts
    assert {f.unique for f in loaded.values.finder.found("Ada Finch")} == {True}
    assert {f.unique for f in loaded.values.finder.found("Oslo")} == {False}
    assert loaded.values_note.startswith("2 values, sealed in ")
    assert b"finch" not in sealed_path(folder).read_bytes().lower()
    assert loaded.facts[SEALED_VALUES] == 2
    assert SEALED_VALUES not in loaded.identity()["facts"]


def test_values_alone_and_those_of_a_base_patch_are_sealed(tiny_host, sealed, tmp_path):
    folder, key = sealed
    alone = make_patch(tiny_host)
    seal_names(alone, tmp_path / "alone", [], key, values=LEARNED)
    assert alone.names is None
    assert alone.names_note == "no names are enrolled"
    alone.save(tmp_path / "alone")
    again = Patch.load(tmp_path / "alone", key)
    assert (again.names, again.values.count) == (None, 2)
    seal_names(alone, tmp_path / "more", ["Cy Venn"], key, earlier=sealed_of(Patch.load(folder, key)))
    assert (alone.names.count, alone.values.count) == (2, 2)


def test_without_its_key_the_filter_is_off_and_says_so(sealed, tiny_host, monkeypatch, caplog):
    folder, _ = sealed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent / "nowhere"))
    monkeypatch.delenv("CAGUL_NAMES_KEY", raising=False)
    loaded = Patch.load(folder)
    assert loaded.values is None
    assert loaded.values_note.startswith("OFF")
    guard = Guard(tiny_host, loaded, check=False, output_filter=True)
    assert "Output filter OFF" in caplog.text
    assert guard.answer(picture(0), QUESTION).withheld is False


def test_an_earlier_file_without_the_values_or_the_names_says_what_is_off(tiny_host, sealed):
    folder, key = sealed
    loaded = Patch.load(folder, key)
    secret, everything = read_key(key), sealed_of(loaded)
    replace(everything, values=None).save(sealed_path(folder), loaded.digest(), secret)
    patch = Patch.load(folder, key)
    assert patch.names_note.startswith("1 name, sealed in ")
    assert patch.values_note.startswith("OFF: 2 values were sealed with this patch, but ")
    nobody = SealedNames.of([], 0, secret, everything.values)
    nobody.save(sealed_path(folder), loaded.digest(), secret)
    patch = Patch.load(folder, key)
    assert patch.names_off
    assert patch.names_note.startswith("OFF: 1 name was sealed with this patch, but ")
    assert patch.values_note.startswith("2 values, sealed in ")


def test_values_alone_whose_file_is_lost_say_so(tiny_host, sealed, tmp_path):
    _, key = sealed
    patch = make_patch(tiny_host)
    seal_names(patch, tmp_path / "alone", [], key, values=LEARNED)
    patch.save(tmp_path / "alone")
    sealed_path(tmp_path / "alone").unlink()
    assert "2 values were sealed with this patch" in Patch.load(tmp_path / "alone").values_note
    with pytest.raises(UsageError, match="2 values were sealed"):
        Patch.load(tmp_path / "alone", key)


def test_a_wrong_key_a_changed_file_and_one_of_another_patch_are_refused(sealed, tiny_host, tmp_path):
    folder, key = sealed
    other = tmp_path / "other"
    other.write_text("ab" * 32 + "\n")
    other.chmod(0o600)
    with pytest.raises(UsageError, match="not sealed with this key"):
        Patch.load(folder, other)
    stranger = make_patch(tiny_host)
    with torch.no_grad():
        next(stranger.encoder.parameters()).add_(1)
    stranger.save(tmp_path / "stranger")
    sealed_path(tmp_path / "stranger").write_bytes(sealed_path(folder).read_bytes())
    with pytest.raises(UsageError, match="belongs to another patch"):
        Patch.load(tmp_path / "stranger", key)


def test_inspect_says_whether_the_filter_is_on(cagul, sealed):
    folder, key = sealed
    code, said = cagul("inspect", folder, "--names-key", key)
    assert code == 0
    assert "output filter" in said
    assert "2 values" in said


# -- what is learned of a host


@pytest.mark.parametrize("keywords", [True, False])
def test_values_come_from_the_records_and_of_what_the_host_says(tiny_host, tiny_records, keywords):
    records = load_records(tiny_records)
    if not keywords:
        records = [r.model_copy(update={"keywords": ()}) for r in records]
    forgotten = sorted({r.subject for r in records if r.group not in HELD_OUT_GROUPS})[0]
    splits = split_records(records, (forgotten,))
    patch = make_patch(tiny_host)
    learned = learn_values(tiny_host, splits, patch, names=["Ada Finch Stark"])
    values = dict(learned.values)
    assert values["Ada Finch Stark"] is True
    for record in splits.forget:
        assert set(record.keywords) <= set(values) or record.kind != "private"
    assert learned.asked > 0
    assert learned.facts.threshold <= patch.threshold
    assert learned.facts.refusal
    assert learned == learn_values(tiny_host, splits, patch, names=["Ada Finch Stark"])


@pytest.mark.no_cover
def test_no_probe_is_a_question_of_the_demo(demo):
    records = load_records(demo.records)
    asked = {fold(q) for r in records for q in (r.question, *r.paraphrased_questions, *r.text_questions)}
    assert not asked & {fold(probe) for probes in PROBES.values() for probe in probes}


def test_a_filter_that_is_asked_for_and_knows_no_values_is_said_to_be_off(
    tiny_folder, tiny_host, tmp_path, caplog
):
    folder = make_patch(tiny_host).save(tmp_path / "patch")
    Guard.load(tiny_folder, folder, output_filter=True)
    assert "Output filter OFF: no values are enrolled with" in caplog.text
