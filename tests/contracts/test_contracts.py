"""The contracts of the guard, put to every proven family. Bit for bit means: against the host on the same
batch.
"""

from __future__ import annotations

from threading import Thread

import pytest
import torch

from cagul.guard.guard import Guard
from cagul.host.attention_capture import PREFIX
from cagul.host.families import PROVEN
from families import FAMILIES, shared_host
from helpers import make_patch, picture

QUESTIONS = [
    "Who is this person ?",
    "Where do they live and what is the name of the bank ?",
    "What colour are the clothes ?",
]


def test_every_proven_family_is_tested():
    assert len(FAMILIES) == 12
    assert set(FAMILIES) == set(PROVEN)


@pytest.fixture(params=FAMILIES)
def host(request):
    with shared_host(request.param) as host:
        yield host


def batch(host, seeds=(1, 2, 3)):
    prompts = [host.prompter.prompt(q) for q in QUESTIONS[: len(seeds)]]
    return host.inputs(prompts, [picture(seed) for seed in seeds])


GREEDY = {"max_new_tokens": 8, "do_sample": False}


def generate(answerer, inputs, **options):
    return answerer.generate(**inputs, **(GREEDY | options))


@torch.no_grad()
def logits(answerer, inputs):
    return answerer(**inputs).logits


def test_off_and_silent_are_the_host_bit_for_bit_and_fired_differs(host):
    inputs = batch(host)
    bare, said = logits(host.model, inputs), generate(host.model, inputs)
    guard = Guard(host, make_patch(host, fires=True))
    assert not torch.equal(logits(guard, inputs), bare)
    assert all(decision.fired for decision in guard.decisions)
    with guard.disabled():
        assert torch.equal(logits(guard, inputs), bare)
        assert torch.equal(generate(guard, inputs), said)
    assert not torch.equal(logits(guard, inputs), bare)
    silent = Guard(host, make_patch(host, fires=False))
    assert torch.equal(logits(silent, inputs), bare)
    assert torch.equal(generate(silent, inputs), said)
    assert [d.fired for d in silent.decisions] == [False] * 3
    assert torch.equal(logits(host.model, inputs), bare)


def test_a_batch_mixes_fired_and_silent_rows(host):
    patch = make_patch(host)
    guard = Guard(host, patch)
    inputs = batch(host)
    scores = guard.judge(host.encode_images(inputs)).tolist()
    patch.threshold = sorted(scores)[1]  # one of three exceeds it
    mixed = logits(guard, inputs)
    bare = logits(host.model, inputs)
    fired = [decision.fired for decision in guard.decisions]
    assert sorted(fired) == [False, False, True]
    for row, verdict in enumerate(fired):
        assert torch.equal(mixed[row], bare[row]) is not verdict


def test_earlier_turns_say_nothing_where_the_picture_fires(host):
    """Two conversations that differ in what was said before, side by side: one answer where the gate fires,
    two where not.
    """

    def text(words):
        return {"type": "text", "text": words}

    def turns(reply):
        return [
            {"role": "user", "content": [{"type": "image"}, text(QUESTIONS[2])]},
            {"role": "assistant", "content": [text(reply)]},
            {"role": "user", "content": [text(QUESTIONS[0])]},
        ]

    prompts = [
        host.prompter.conversation(turns(reply))
        for reply in ("Ada Finch .", "The bank is red and the town is Moss .")
    ]
    inputs = host.inputs(prompts, [picture(1), picture(1)])
    for fires in (True, False):
        guard = Guard(host, make_patch(host, fires=fires))
        first, second = logits(guard, inputs)[:, -1]
        assert torch.allclose(first, second, atol=1e-4 * float(first.abs().max())) is fires
        told = generate(guard, inputs, return_dict_in_generate=True, output_logits=True).logits[0]
        assert torch.allclose(told[0], told[1], atol=1e-4 * float(told.abs().max())) is fires
        assert torch.allclose(told[0], first, atol=1e-4 * float(told.abs().max()))


def conversations(host, second=2):
    """Two conversations with a picture, of unlike length, the second with ``second`` of them; and one
    question.
    """

    def text(words):
        return {"type": "text", "text": words}

    def turns(reply, pictures):
        first = [*[{"type": "image"}] * pictures, text(QUESTIONS[2])]
        return [
            {"role": "user", "content": first},
            {"role": "assistant", "content": [text(reply)]},
            {"role": "user", "content": [text(QUESTIONS[0])]},
        ]

    prompts = [
        host.prompter.conversation(turns("Ada Finch .", 1)),
        host.prompter.conversation(turns("The bank is red and the town is Moss .", second)),
        host.prompter.prompt(QUESTIONS[1]),
    ]
    return host.inputs(prompts, [picture(seed) for seed in range(2 + second)])


def seeing_all(host):
    """A host of the test's own with a window wider than any prompt here."""
    for module in (host.language_model.config, *host.language_model.modules()):
        if getattr(module, "sliding_window", None):
            module.sliding_window = 512
    return host


@pytest.mark.parametrize("fires", [True, False])
def test_a_worker_without_the_guard_answers_what_the_guard_answers(host, fires):
    """The earlier turns are out of the prompts that a picture fires in, and masked behind the guard. A window
    of attention counts them behind the guard alone, so Gemma 3's is set wider than the prompts.
    """
    if getattr(host.language_model.config, "sliding_window", None):
        host = seeing_all(FAMILIES[host.family.model_type]())
    inputs = conversations(host)
    guard = Guard(host, make_patch(host, fires=fires))
    said = generate(guard, inputs, min_new_tokens=8)
    verdicts = guard.decisions
    encoded = guard.encode(inputs)
    told = host.generate(encoded.inputs, encoded.tokens, **GREEDY, min_new_tokens=8)
    assert torch.equal(told[:, -8:], said[:, -8:])
    assert [d.fired for d in encoded.decisions] == [d.fired for d in verdicts] == [fires] * 4
    before, after = (given["input_ids"].shape[1] for given in (inputs, encoded.inputs))
    assert after < before if fires else after == before
    assert encoded.fired is fires
    assert not set(encoded.inputs) & set(host.family.pixel_keys)


def test_a_prompt_to_a_worker_holds_nothing_of_the_earlier_turns(host):
    """Row by row: what is left reads as one turn, whatever was said before."""
    guard = Guard(host, make_patch(host))
    encoded = guard.encode(conversations(host))
    decode = host.processor.tokenizer.decode
    for row, mask in zip(encoded.inputs["input_ids"], encoded.inputs["attention_mask"], strict=True):
        read = decode([i for i in row[mask.bool()].tolist() if i != host.image_token])
        assert "Finch" not in read
        assert "Moss" not in read
        assert "colour" not in read
    assert all(
        value.shape == encoded.inputs["input_ids"].shape
        for name, value in encoded.inputs.items()
        if name not in host.family.picture_keys
    )


def test_no_gradient_in_and_no_changed_byte_of_the_host(host):
    before = host.fingerprint()
    inputs = batch(host)
    tokens = [t.clone().requires_grad_() for t in host.encode_images(inputs)]
    host.score(inputs, tokens, logits_to_keep=2).float().square().sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in tokens)
    assert all(p.grad is None and not p.requires_grad for p in host.model.parameters())
    generate(Guard(host, make_patch(host)), inputs)
    assert host.fingerprint() == before


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fingerprint_sees_one_changed_weight(name):
    host = FAMILIES[name]()
    before = host.fingerprint()
    parameter = next(host.model.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1
    assert host.fingerprint() != before


def test_untouched_features_are_the_pictures_bit_for_bit(host):
    inputs = batch(host)
    tokens = host.encode_images(inputs)
    given = {k: v for k, v in inputs.items() if k != "pixel_values"}
    with torch.no_grad():
        through = host.model(**given, mm_encoder_outputs=host.features(tokens)).logits
    assert torch.equal(through, logits(host.model, inputs))


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_rows_match_eager(name, tmp_path):
    """Every layer's rows against output_attentions of the same host loaded with eager attention, padding
    included.
    """
    from transformers import AutoModelForImageTextToText

    host = FAMILIES[name]()
    host.model.save_pretrained(tmp_path)
    eager = AutoModelForImageTextToText.from_pretrained(tmp_path, attn_implementation="eager").eval()
    inputs = batch(host)
    with torch.no_grad():
        reference = eager(**inputs, output_attentions=True).attentions
    tokens = host.encode_images(inputs)
    prefill = host.prefill(inputs, tokens)
    seen = {}

    def sink(layer, weights, valid):
        seen[layer] = (weights, valid)

    host.capture_attention(prefill, frozenset(range(host.layers)), sink)
    assert sorted(seen) == list(range(host.layers))
    for layer, (weights, valid) in seen.items():
        for image, question in prefill.layout.questions.items():
            rows = question.rows
            assert valid[image].sum() == len(rows)
            expected = reference[layer][image][:, rows]
            assert torch.allclose(weights[image][:, : len(rows)], expected, atol=1e-6)


def test_no_attention_pass_when_silent_and_nothing_left_behind(host, monkeypatch):
    before = host.language_model.config._attn_implementation
    guard = Guard(host, make_patch(host, fires=False))
    monkeypatch.setattr(host, "capture_attention", lambda *a, **k: pytest.fail("attended although silent"))
    generate(guard, batch(host))
    assert host.language_model.config._attn_implementation == before


def test_an_exception_leaves_nothing_switched(host):
    def hooks():  # transformers keeps some of its own
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in host.model.modules()]

    before = host.language_model.config._attn_implementation
    inputs = batch(host)
    tokens = host.encode_images(inputs)
    prefill = host.prefill(inputs, tokens, [0, 1, 2])
    hooked = hooks()

    def broken(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        host.capture_attention(prefill, frozenset({0}), broken)
    assert host.language_model.config._attn_implementation == before
    assert not before.startswith(PREFIX)
    assert hooks() == hooked


def padding_error(host, guard, seeds=(1, 2, 3)):
    """The largest difference of the last logits between a batch and its rows alone, in units of the largest
    logit, and by how many chosen tokens they differ.
    """
    together = logits(guard, batch(host))[:, -1].float()
    masks, errors, exchanged = [set(decision.chosen) for decision in guard.decisions], [], []
    for row, (question, seed) in enumerate(zip(QUESTIONS, seeds, strict=True)):
        alone = host.inputs([host.prompter.prompt(question)], [picture(seed)])
        errors.append(
            float((logits(guard, alone)[0, -1].float() - together[row]).abs().max() / together.abs().max())
        )
        exchanged.append(len(masks[row] - set(guard.decisions[0].chosen)))
    return max(errors), max(exchanged)


def test_a_padded_batch_equals_its_rows_alone(host):
    error, exchanged = padding_error(host, Guard(host, make_patch(host)))
    assert error <= 1e-5
    assert exchanged == 0


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)], ids=["bfloat16", "float16"]
)
@pytest.mark.parametrize("choose", ["bottom", "all"])
def test_a_padded_batch_equals_its_rows_alone_in_half_precision(dtype, tolerance, choose):
    """On trained weights; a random host magnifies rounding. A near tie of importances may fall otherwise: one
    exchange.
    """
    from cagul.demo.assets import demo_assets
    from cagul.host.frozen import FrozenHost

    host = FrozenHost.load(demo_assets().host, dtype=dtype)
    error, exchanged = padding_error(host, Guard(host, make_patch(host, selection={"choose": choose})))
    assert error <= tolerance
    assert exchanged <= 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 2},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ],
    ids=["greedy", "beams", "beams-returned", "sampled", "no-cache", "static"],
)
def test_the_edit_is_applied_once_in_every_decoding(host, options):
    """Generation behind the guard equals the host's generation from the tokens that one call of the encoder
    gave.
    """
    from cagul.guard.token_edit import choose_tokens, rewrite

    inputs = batch(host)
    patch = make_patch(host)
    guard = Guard(host, patch)
    tokens = host.encode_images(inputs)
    prefill = host.prefill(inputs, tokens, [0, 1, 2])
    masks = choose_tokens(host, patch.config, patch.layers, prefill)
    with torch.no_grad():
        edited = rewrite(patch.encoder, tokens, masks)
    given = {k: v for k, v in inputs.items() if k != "pixel_values"}
    torch.manual_seed(0)
    expected = host.model.generate(**given, mm_encoder_outputs=host.features(edited), **(GREEDY | options))
    torch.manual_seed(0)
    assert torch.equal(generate(guard, inputs, **options), expected)
    torch.manual_seed(0)
    assert torch.equal(generate(guard, inputs, **options), expected)


def test_streaming_says_the_same(host):
    guard = Guard(host, make_patch(host))
    whole = guard.answer(picture(1), QUESTIONS[0], max_new_tokens=8).text
    assert "".join(guard.stream(picture(1), QUESTIONS[0], max_new_tokens=8)).split() == whole.split()


def test_a_stream_knows_forced_and_disabled_and_hands_back_its_verdicts(host):
    guard = Guard(host, make_patch(host, fires=False))
    with guard.forced():
        "".join(guard.stream(picture(1), QUESTIONS[0], max_new_tokens=3))
    assert [d.fired for d in guard.decisions] == [True]
    with guard.disabled():
        said = guard.answer(picture(1), QUESTIONS[0], max_new_tokens=3)
    assert said.decisions == ()


@pytest.mark.no_cover
def test_threads_mix_nothing(host):
    """Twenty rounds of three threads: a guard that fires, one that is silent, and the bare host."""
    inputs = batch(host)
    firing, silent = Guard(host, make_patch(host, fires=True)), Guard(host, make_patch(host, fires=False))
    expected = {
        "firing": logits(firing, inputs),
        "silent": logits(silent, inputs),
        "bare": logits(host.model, inputs),
    }
    before = host.language_model.config._attn_implementation
    failures: list[str] = []

    def work(name, answerer):
        for _ in range(20):
            try:
                if not torch.equal(logits(answerer, inputs), expected[name]):
                    failures.append(name)
            except Exception as error:  # noqa: BLE001 - reported below
                failures.append(f"{name}: {error!r}")

    threads = [
        Thread(target=work, args=pair)
        for pair in (("firing", firing), ("silent", silent), ("bare", host.model))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert host.language_model.config._attn_implementation == before


def test_text_only_is_the_host(host):
    guard = Guard(host, make_patch(host))
    inputs = host.inputs([host.prompter.prompt("Who is Ada Finch ?", 0)], [])
    assert torch.equal(generate(guard, inputs), generate(host.model, inputs))
    assert guard.decisions == ()


def test_text_before_the_second_picture_does_not_ask_about_it(host):
    content = [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}, {"type": "image"}]
    inputs = host.inputs(
        [host.prompter.conversation([{"role": "user", "content": content}])], [picture(1), picture(2)]
    )
    guard = Guard(host, make_patch(host))
    generate(guard, inputs)
    assert [d.fallback for d in guard.decisions] == [False, True]


def test_several_pictures_in_a_prompt_are_gated_one_by_one(host):
    patch = make_patch(host)
    guard = Guard(host, patch)
    inputs = host.inputs([host.prompter.prompt(QUESTIONS[0], 2)], [picture(1), picture(2)])
    scores = guard.judge(host.encode_images(inputs)).tolist()
    patch.threshold = sum(scores) / 2
    output = logits(guard, inputs)
    assert [d.fired for d in guard.decisions] == [score > patch.threshold for score in scores]
    assert not torch.equal(output, logits(host.model, inputs))


def test_rows_without_a_picture_in_a_batch_are_the_hosts(host):
    """A question with a picture, one without, one with two: only the pictures are gated, and nothing else
    moves.
    """
    prompts = [host.prompter.prompt(q, n) for q, n in zip(QUESTIONS, (1, 0, 2), strict=True)]
    inputs = host.inputs(prompts, [picture(1), picture(2), picture(3)])
    bare = logits(host.model, inputs)
    assert torch.equal(logits(Guard(host, make_patch(host, fires=False)), inputs), bare)
    guard = Guard(host, make_patch(host))
    edited = logits(guard, inputs)
    assert [d.fired for d in guard.decisions] == [True] * 3
    real = inputs["attention_mask"].bool()
    moved = [not torch.equal(edited[row][real[row]], bare[row][real[row]]) for row in range(3)]
    assert moved == [True, False, True]


def test_what_was_generated_scores_as_it_was_generated(host):
    """Teacher forcing through ``score`` gives the logits that generation had, step by step: training sees
    what use sees.
    """
    question = QUESTIONS[0]
    inputs = host.inputs([host.prompter.prompt(question)], [picture(1)])
    tokens = host.encode_images(inputs)
    told = host.generate(
        inputs,
        tokens,
        max_new_tokens=5,
        min_new_tokens=5,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    answer = told.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    encoded = host.prompter.encode(question, picture(1).size)
    both, _ = host.prompter.batch([encoded], [answer])
    with torch.no_grad():
        scored = host.score(both, tokens, len(answer) + 1)[0, :-1]
    assert torch.allclose(scored, torch.stack(told.logits)[:, 0], atol=1e-4)
