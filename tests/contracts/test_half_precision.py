"""The contracts in bfloat16 and float16, put to every proven family.

Hosts keep the weights that their family starts with: the other contracts enlarge them by four so that random
hosts say different things, and rounding grows with them (Gemma 3 in float16: 0.0029 of the logits' scale, the
bare host 0.0014).
"""

from __future__ import annotations

from itertools import product

import pytest
import torch

from cagul.guard import token_edit as editing
from cagul.guard.guard import Guard
from cagul.guard.token_edit import choose_tokens, rewrite
from cagul.host.families import PROVEN
from families import ENLARGED, FAMILIES
from helpers import make_patch, picture

pytestmark = pytest.mark.no_cover  # the lines of test_contracts.py again, in other numbers
QUESTIONS = [
    "Who is this person ?",
    "Where do they live and what is the name of the bank ?",
    "What colour are the clothes ?",
]
GREEDY = {"max_new_tokens": 4, "do_sample": False}
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 2e-3}  # of the logits' scale
CASES = [(name, dtype) for name in FAMILIES for dtype in TOLERANCE]


def test_every_proven_family_is_asked_in_both():
    assert {name for name, _ in CASES} == set(PROVEN)
    assert len(CASES) == 2 * len(PROVEN) == 24


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{case[0]}-{str(case[1]).removeprefix('torch.')}"
)
def host(request):
    return as_made(*request.param)


def as_made(name, dtype, seed=0):
    host = FAMILIES[name](seed)
    with torch.no_grad():
        for part, parameter in host.model.named_parameters():
            if parameter.ndim >= 2 and "embed" not in part:
                parameter.div_(ENLARGED)
    host.model.to(dtype)
    assert host.dtype == dtype
    return host


def batch(host, rows=(0, 1, 2)):
    return host.inputs(
        [host.prompter.prompt(QUESTIONS[row]) for row in rows], [picture(row + 1) for row in rows]
    )


@torch.no_grad()
def logits(answerer, inputs):
    return answerer(**inputs).logits


def said(answerer, inputs, **options):
    return answerer.generate(**inputs, **(GREEDY | options))


def apart(one, other, scale):
    return float((one.float() - other.float()).abs().max() / scale.float().abs().max())


def test_off_and_silent_are_the_host_bit_for_bit_and_fired_differs(host):
    inputs = batch(host)
    bare, told = logits(host.model, inputs), said(host.model, inputs)
    guard, silent = Guard(host, make_patch(host)), Guard(host, make_patch(host, fires=False))
    assert torch.isfinite(bare).all()
    assert not torch.equal(logits(guard, inputs), bare)
    assert all(decision.fired for decision in guard.decisions)
    with guard.disabled():
        assert torch.equal(logits(guard, inputs), bare)
    assert torch.equal(logits(silent, inputs), bare)
    assert torch.equal(said(silent, inputs), told)
    assert torch.equal(logits(host.model, inputs), bare)


def test_a_batch_mixes_fired_and_silent_rows(host):
    patch = make_patch(host)
    guard, inputs = Guard(host, patch), batch(host)
    patch.threshold = sorted(guard.judge(host.encode_images(inputs)).tolist())[1]
    mixed, bare = logits(guard, inputs), logits(host.model, inputs)
    fired = [decision.fired for decision in guard.decisions]
    assert sorted(fired) == [False, False, True]
    assert [torch.equal(mixed[row], bare[row]) for row in range(3)] == [not verdict for verdict in fired]


def test_gradients_reach_the_tokens_and_no_weight(host):
    inputs, before = batch(host), host.fingerprint()
    tokens = [token.clone().requires_grad_() for token in host.encode_images(inputs)]
    host.score(inputs, tokens, logits_to_keep=2).float().square().sum().backward()
    assert all(bool(token.grad.abs().sum() > 0) for token in tokens)
    assert all(parameter.grad is None for parameter in host.model.parameters())
    assert host.fingerprint() == before


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True}], ids=str
)
def test_the_edit_is_applied_once(host, options):
    inputs, patch = batch(host), make_patch(host)
    tokens = host.encode_images(inputs)
    prefill = host.prefill(inputs, tokens, [0, 1, 2])
    masks = choose_tokens(host, patch.config, patch.layers, prefill)
    with torch.no_grad():
        edited = rewrite(patch.encoder, tokens, masks)
    torch.manual_seed(0)
    expected = host.generate(inputs, edited, **(GREEDY | options))
    torch.manual_seed(0)
    assert torch.equal(said(Guard(host, patch), inputs, **options), expected)


def test_a_padded_batch_equals_its_rows_alone(host, monkeypatch):
    """With the batch's own choice given to the rows alone: a choice between tokens that matter alike is
    rounding's.
    """
    guard, tolerance = Guard(host, make_patch(host)), TOLERANCE[host.dtype]
    together = logits(guard, batch(host))
    chosen = [decision.chosen for decision in guard.decisions]
    for row in range(3):
        alone = batch(host, (row,))
        mask = torch.zeros(len(host.encode_images(alone)[0]), dtype=torch.bool)
        mask[list(chosen[row])] = True
        monkeypatch.setattr("cagul.guard.guard.choose_tokens", lambda *_, mask=mask: [mask])
        found = logits(guard, alone)
        assert guard.decisions[0].chosen == chosen[row]
        assert apart(found[0, -1], together[row, -1], together[:, -1]) <= tolerance


def test_what_a_row_alone_would_choose_otherwise_matters_alike(monkeypatch):
    """Of tokens that a batch and a row alone choose differently, the importance differs by next to
    nothing.
    """
    importances, choose, exchanges = [], editing.choose, []

    def remember(how, importance, valid, k):
        importances.extend(importance)
        return choose(how, importance, valid, k)

    monkeypatch.setattr(editing, "choose", remember)
    for seed, dtype in product(range(4, 8), TOLERANCE):
        host = as_made("llava_next", dtype, seed)
        patch, masks = make_patch(host), []
        importances.clear()
        for rows in ((0, 1, 2), (0,), (1,), (2,)):
            inputs = batch(host, rows)
            tokens, images = host.encode_images(inputs), list(range(len(rows)))
            prefill = host.prefill(inputs, tokens, images)
            masks += choose_tokens(host, patch.config, patch.layers, prefill)
        for row in range(3):
            exchanged = importances[row][: len(masks[row])][masks[row] != masks[3 + row]]
            if len(exchanged):
                exchanges.append(float((exchanged.max() - exchanged.min()) / exchanged.max()))
    assert exchanges
    assert max(exchanges) <= 1e-3
