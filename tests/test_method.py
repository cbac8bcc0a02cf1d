"""Attention to importance, selection, encoder, discriminator, losses: by hand and by property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cagul.config import FLOOR_CAP
from cagul.errors import DataError, HostError, PatchError, UsageError
from cagul.method.calibration import calibrate
from cagul.method.encoder import VisualTokenEncoder
from cagul.method.gate import EnrolmentGate, MlpGate, layout_pool, learn_metric, load_gate, moment_pool
from cagul.method.importance import Importance, resolve_layers
from cagul.method.losses import answer_loss, blend_loss, floor_loss, keep_loss, preference_loss, size_loss
from cagul.method.selection import choose


def test_layers():
    assert resolve_layers("first_quarter", 4) == {0, 1}
    assert resolve_layers("first_quarter", 32) == set(range(8))
    assert resolve_layers("first_quarter", 1) == {0}
    assert resolve_layers("all", 3) == {0, 1, 2}
    assert resolve_layers([2, 0], 3) == {0, 2}
    with pytest.raises(UsageError, match=r"attention.layers is \[1, 9\], but the host has layers 0 to 3"):
        resolve_layers([9, 1], 4)


def test_importance_is_the_mean_over_layers_heads_and_question_rows():
    weights = torch.zeros(1, 2, 2, 4)
    weights[0, 0, 0] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    weights[0, 1, 0] = torch.tensor([0.3, 0.2, 0.1, 0.4])
    weights[0, :, 1] = 9.0  # padding: counts for nothing
    valid = torch.tensor([[True, False]])
    reading = Importance([torch.tensor([1, 2])])
    reading.add(0, weights, valid)
    reading.add(1, torch.zeros_like(weights), valid)
    assert torch.allclose(reading.result(), torch.tensor([[0.1, 0.1]]))
    with pytest.raises(ValueError, match="no attention rows"):
        Importance([torch.tensor([0])]).result()


IMPORTANCE = torch.tensor([[0.3, 0.1, 0.1, 0.5]])
EVERY = torch.ones(1, 4, dtype=torch.bool)


def test_selection_by_hand():
    assert choose("bottom", IMPORTANCE, EVERY, 2).tolist() == [[False, True, True, False]]
    # the earlier of a tie
    assert choose("bottom", IMPORTANCE, EVERY, 1).tolist() == [[False, True, False, False]]
    assert choose("top", IMPORTANCE, EVERY, 1).tolist() == [[False, False, False, True]]
    assert choose("all", IMPORTANCE, EVERY, 1).tolist() == [[True] * 4]
    assert choose("bottom", IMPORTANCE, EVERY, 0.75).sum() == 3
    assert torch.equal(choose("random", IMPORTANCE, EVERY, 2), choose("random", 1 - IMPORTANCE, EVERY, 2))


def test_too_few_tokens():
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    with pytest.raises(UsageError, match="Image 1 of the batch has 2 visual tokens, but selection.k is 3"):
        choose("bottom", IMPORTANCE.repeat(2, 1), valid, 3)


@given(st.data())
def test_exactly_k_are_chosen_and_never_padding(data):
    size = data.draw(st.integers(1, 12))
    real = data.draw(st.integers(1, size))
    k = data.draw(st.integers(1, real))
    values = data.draw(
        st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=size, max_size=size)
    )
    valid = torch.arange(size)[None] < real
    importance = torch.where(valid, torch.nan_to_num(torch.tensor([values])), torch.tensor([values]))
    for how in ("bottom", "top", "random"):
        mask = choose(how, importance, valid, k)
        assert mask.sum() == k
        assert not (mask & ~valid).any()


def test_an_untrained_encoder_changes_nothing_and_a_trained_one_only_the_mask():
    encoder, tokens = VisualTokenEncoder(8, 16, 2), torch.randn(2, 5, 8)
    mask = torch.tensor([[True, False, True, False, False], [False] * 5])
    assert torch.equal(encoder(tokens, mask), tokens)
    torch.nn.init.normal_(encoder.change[-1].weight)
    changed = encoder(tokens, mask)
    assert torch.equal(changed[~mask], tokens[~mask])
    assert not torch.isclose(changed[mask], tokens[mask]).all(-1).any()
    assert encoder(tokens.bfloat16(), mask).dtype == torch.bfloat16


def test_losses_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]))
    labels = torch.tensor([[0, 1]])
    expected = (torch.log(torch.tensor(2.0)) + torch.log(torch.tensor(4 / 3))) / 2
    assert torch.allclose(answer_loss(logits, labels), expected[None])
    assert torch.allclose(answer_loss(logits, torch.tensor([[-100, 1]])), torch.log(torch.tensor([4 / 3])))
    assert keep_loss(logits, logits, labels) == pytest.approx(0, abs=1e-6)
    other = torch.log(torch.tensor([[[0.25, 0.75], [0.25, 0.75]]]))
    by_hand = 0.5 * (0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(2 / 3)))
    assert keep_loss(logits, other, labels) == pytest.approx(float(by_hand), abs=1e-5)
    tokens = torch.zeros(2, 4)
    assert size_loss([tokens], [tokens + 2], [torch.tensor([True, False])]) == 4.0
    low, high = torch.tensor([0.1]), torch.tensor([5.0])
    assert preference_loss(high, low) < preference_loss(low, low) < preference_loss(low, high)


def test_blend_loss_by_hand_leaves_the_first_token_out():
    edited = torch.log(torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]]))
    other = torch.log(torch.tensor([[[0.1, 0.9], [0.25, 0.75], [0.5, 0.5]]]))
    one = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert blend_loss(other, edited, torch.tensor([[0, 1, 1]])).tolist() == pytest.approx([one / 2], abs=1e-6)
    assert blend_loss(other, edited, torch.tensor([[0, 1, -100]])).tolist() == pytest.approx([one], abs=1e-6)
    assert blend_loss(other, edited, torch.tensor([[-100, 1, -100]])).tolist() == [0.0]


def test_floor_loss_by_hand_asks_for_no_more_than_the_floor_and_counts_no_token_above_the_cap():
    edited = torch.log(torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.25, 0.75]]]))
    mean = (math.log(2) + math.log(4)) / 2
    assert floor_loss(edited, torch.tensor([[0, 0, 0]]), 3.0).tolist() == pytest.approx([3 - mean], abs=1e-6)
    assert floor_loss(edited, torch.tensor([[0, 0, 0]]), 1.0).tolist() == [0.0]
    absurd = torch.tensor([[[0.0, 0.0], [-100.0, 0.0], [100.0, 0.0]]])
    assert floor_loss(absurd, torch.tensor([[0, 0, 0]]), 10.0).tolist() == pytest.approx(
        [10 - FLOOR_CAP / 2], abs=1e-5
    )
    # nothing after the first token
    assert floor_loss(edited, torch.tensor([[-100, 0, -100]]), 3.0).tolist() == [0.0]


def people_tokens(people=12, pictures=6, tokens=16, width=8, seed=0):
    """People differ in five directions; pictures of one person differ most in a sixth, which all people
    share.
    """
    directions = torch.randn(6, tokens, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    who = torch.einsum("pk,ktd->ptd", 2 * torch.randn(people, 5, generator=generator), directions[:5])
    noise = directions[5]
    shown, person = [], []
    for n in range(people):
        for _ in range(pictures):
            light = torch.randn(1, generator=generator)
            shown.append(who[n] + 3 * light * noise + 0.3 * torch.randn(tokens, width, generator=generator))
            person.append(n)
    return shown, torch.tensor(person)


def test_the_metric_tells_new_people_apart():
    shown, person = people_tokens()
    mean, projection = learn_metric(layout_pool(shown), person, 5)
    fresh, owner = people_tokens(people=6, seed=1)
    enrolled = (owner < 2) & (torch.arange(len(owner)) % 6 < 3)
    embed = torch.nn.functional.normalize((layout_pool(fresh) - mean) @ projection, dim=-1)
    gate = EnrolmentGate(mean, projection, embed[enrolled], owner[enrolled], pool="layout")
    scores = gate(fresh)
    known = (owner < 2) & ~enrolled
    assert scores[known].min() > scores[owner >= 2].max()
    assert gate(fresh[:1]).shape == (1,)


def test_rivals_are_told_from_the_forgotten():
    torch.manual_seed(0)
    mean, projection = torch.zeros(64 * 4), torch.eye(64 * 4)
    person, twin = torch.randn(64, 4), torch.randn(64, 4)
    twin = person + 0.2 * twin
    enrolled = torch.nn.functional.normalize(layout_pool([person]), dim=-1)
    gate = EnrolmentGate(mean, projection, enrolled, torch.tensor([0]), pool="layout")
    assert (gate([person, twin]) > 0.95).all()
    assert gate.learn_impostors([twin, torch.randn(64, 4)], torch.tensor([0, 1]), 0.95) == 1
    assert (gate([person, twin]) > 0.95).tolist() == [True, False]
    assert gate.impostors.shape == (1, 64 * 4)


def test_an_impostor_is_learned_with_all_pictures_of_the_person():
    mean, projection = torch.zeros(64 * 4), torch.eye(64 * 4)
    person, other, stranger = (torch.randn(64, 4) for _ in range(3))
    twin = person + 0.2 * torch.randn(64, 4)
    enrolled = torch.nn.functional.normalize(layout_pool([person]), dim=-1)
    gate = EnrolmentGate(mean, projection, enrolled, torch.tensor([0]), pool="layout")
    assert (gate([twin, other, stranger]) > 0.9).tolist() == [True, False, False]
    assert gate.learn_impostors([twin, other, stranger], torch.tensor([0, 0, 1]), 0.9) == 1
    assert torch.equal(gate.impostors, gate.embed([twin, other]))


def test_a_rival_who_asks_to_be_forgotten_is_no_rival():
    mean, projection = torch.zeros(64 * 4), torch.eye(64 * 4)
    person, twin, other = torch.randn(64, 4), torch.randn(64, 4), torch.randn(64, 4)
    twin = person + 0.2 * twin
    enrolled = torch.nn.functional.normalize(layout_pool([person]), dim=-1)
    gate = EnrolmentGate(mean, projection, enrolled, torch.tensor([0]), pool="layout")
    gate.learn_impostors([twin, other], torch.tensor([0, 1]), 0.9)
    seen_again = twin + 0.1 * torch.randn(64, 4)
    both = gate.enrol([twin], torch.tensor([0]))
    assert both.owner.tolist() == [0, 1]
    assert len(both.impostors) == 0
    assert float(both([seen_again])) > 0.95 > float(gate([seen_again]))
    assert len(gate.enrol([other], torch.tensor([0])).impostors) == 1


def test_the_metric_needs_people():
    with pytest.raises(DataError, match="got 2 people with 2 pictures"):
        learn_metric(torch.randn(2, 8), torch.tensor([0, 1]), 4)


def test_pooling_takes_ragged_images():
    ragged = [torch.randn(96, 4), torch.randn(70, 4)]
    assert layout_pool(ragged).shape == (2, 64 * 4)
    assert layout_pool([torch.randn(9, 4), torch.randn(20, 4)]).shape == (2, 64 * 4)
    assert moment_pool(ragged).shape == (2, 8)


def test_calibration_promises_no_more_than_its_people_allow():
    scores = torch.arange(200.0)
    threshold, promised = calibrate(scores, torch.arange(200), 0.01)
    assert promised == 0.01
    assert (scores > threshold).sum() == 1  # (200 + 1) * 0.01 rounded down, less the new one
    threshold, promised = calibrate(scores[:20], torch.arange(20), 0.01)
    assert promised == pytest.approx(1 / 21)
    assert threshold == 19.0
    crowd = torch.cat([torch.arange(100.0), torch.full((300,), 500.0)])  # one of 101 people has 300 pictures
    threshold, _ = calibrate(crowd, torch.cat([torch.arange(100), torch.full((300,), 100)]), 0.05)
    assert threshold < 100
    with pytest.raises(HostError, match="not a number"):
        calibrate(torch.tensor([0.0, float("nan")]), torch.arange(2), 0.5)


def test_an_empirical_quantile_lets_as_many_calibration_pictures_fire_as_are_asked_for():
    scores = torch.arange(60.0)
    threshold, promised = calibrate(scores, torch.arange(60), 0.05, quantile="empirical")
    assert (scores > threshold).sum() == 3
    assert promised == pytest.approx((1 + 60 * 0.05) / 61)
    outlier = torch.cat([scores, torch.tensor([999.0])])  # a second picture of the person who scores highest
    person = torch.cat([torch.arange(60), torch.tensor([59])])
    assert calibrate(outlier, person, 0.0166)[0] == 999
    assert calibrate(outlier, person, 0.0166, quantile="empirical")[0] == 59
    assert calibrate(scores, torch.arange(60), 0.05, 0.9, "empirical") == calibrate(
        scores, torch.arange(60), 0.05, 0.9
    )


@pytest.mark.parametrize("quantile", ["empirical", "conformal"])
@pytest.mark.parametrize(("people", "fpr"), [(1, 0.02), (7, 0.1), (24, 0.02), (60, 0.05), (300, 0.02)])
def test_calibration_keeps_its_promise_on_average_over_draws(quantile, people, fpr):
    """Of people whose pictures resemble each other, in number and quality as people's are: one in ten looks
    like somebody forgotten in all of them.
    """
    generator, exceeded = torch.Generator().manual_seed(0), []
    person = torch.arange(people).repeat_interleave(torch.arange(people) % 4 + 1)
    for _ in range(400):
        looks = torch.randn(people + 50, generator=generator)
        looks += 4 * (torch.rand(people + 50, generator=generator) < 0.1)
        scores = looks[person] + 0.3 * torch.randn(len(person), generator=generator)
        threshold, promised = calibrate(scores, person, fpr, quantile=quantile)
        new = looks[people:] + 0.3 * torch.randn(50, generator=generator)
        exceeded.append(float((new > threshold).float().mean()))
    error = torch.tensor(exceeded).std() / 20
    assert sum(exceeded) / 400 <= promised + 2 * error
    if quantile == "empirical":  # and not by far
        assert sum(exceeded) / 400 >= fpr - 2 * error


def test_a_sure_calibration_keeps_its_promise_in_as_many_draws_as_it_says():
    scores = torch.arange(1000.0)
    threshold, promised = calibrate(scores, torch.arange(1000), 0.01, 0.9)
    # 5 of 1,000 exceed it: 6 would at 1 % in more than a tenth of the draws
    assert (promised, threshold) == (0.01, 994.0)
    threshold, promised = calibrate(scores[:200], torch.arange(200), 0.01, 0.9)
    assert (round(promised, 4), threshold) == (0.0114, 199.0)
    kept, on_average = [], []
    for draw in range(300):
        people = torch.rand(500, generator=torch.Generator().manual_seed(draw))
        kept.append(1 - calibrate(people, torch.arange(500), 0.01, 0.9)[0] <= 0.01)
        on_average.append(1 - calibrate(people, torch.arange(500), 0.01)[0] <= 0.01)
    assert sum(kept) / 300 > 0.9 > 0.7 > sum(on_average) / 300


@pytest.mark.parametrize("kind", ["mlp", "enrolment"])
def test_gates_come_back_from_their_tensors(kind):
    shown, person = people_tokens()
    if kind == "mlp":
        gate = MlpGate(8)
        gate.standardise(moment_pool(shown))
    else:
        mean, projection = learn_metric(layout_pool(shown), person, 8)
        gate = EnrolmentGate(
            mean, projection, torch.randn(4, projection.shape[1]), torch.tensor([0, 0, 1, 1]), pool="layout"
        )
    again = load_gate(kind, gate.state_dict(), "layout")
    assert torch.equal(again(shown), gate(shown))
    with pytest.raises(PatchError, match="no whole"):
        load_gate(kind, {}, "layout")


def test_a_gate_of_moments_knows_a_person_wherever_it_is():
    """Moved tokens have the same moments; cells in reading order see another picture."""
    shown, person = people_tokens()
    moved = [token.roll(5, dims=0) for token in shown]
    for pool, kind, alike in ((moment_pool, "moments", True), (layout_pool, "layout", False)):
        mean, projection = learn_metric(pool(shown), person, 8)
        templates = torch.nn.functional.normalize((pool(shown[:1]) - mean) @ projection, dim=-1)
        gate = EnrolmentGate(mean, projection, templates, person[:1], pool=kind)
        assert gate.width == shown[0].shape[1]
        assert bool(torch.allclose(gate(moved[:1]), torch.ones(1), atol=1e-4)) == alike
