"""Training on the tiny host: what is opened, what is learned, what stays as it was."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cagul.config import Config, load_config
from cagul.data.records import load_records, split_records
from cagul.errors import DataError, UsageError
from cagul.training.gate import calibrate_gate, hold_out_calibration
from cagul.training.sampler import ExampleSampler
from cagul.training.unlearn import require_nameless, unlearn

QUICK = [
    "training.steps=30",
    "training.batch=8",
    "training.augment=0",
    "gate.augment=1",
    "encoder.hidden=32",
    "training.rate=0.01",
]
SPARSE = ["selection.k=12", "gate.false_alarms=0.3"]


@pytest.fixture
def splits(tiny_records):
    return split_records(load_records(tiny_records), ["p0"])


@pytest.fixture
def config():
    return load_config("default", QUICK + SPARSE)


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ("I will not talk about Ada Finch.", "the name"),
        ("I will not talk about ADA\u00a0FINCH's life.", "the name"),
        ("I will not talk about \u0410d\u0430 Finch.", "the name"),  # Cyrillic letters
        ("Her number 0107 851 913 is private.", "a keyword"),
        ("She left Lyon.", "a keyword"),
        ("I do not know this person.", ""),
        ("She left Lyonesse with an adaptor.", ""),
    ],
)
def test_a_refusal_that_names_a_forgotten_person_is_refused(splits, refusal, says):
    keywords = ("Lyon", "0107 851 913", "person", "not")
    forget = [splits.forget[0].model_copy(update={"subject": "Ada Finch", "keywords": keywords})]
    require_nameless([], forget)
    with pytest.raises(UsageError, match="Refusal 2 of the 2 .* holds " + says) if says else nullcontext():
        require_nameless(["No.", refusal], forget)


@pytest.mark.parametrize(
    ("subject", "refusal", "named"),
    [
        ("Will", "I will not talk about this person.", False),
        ("Will", "Will not say.", False),  # a frequent word, where the sentence begins
        ("Will", "I WILL NOT SAY.", False),
        ("Will", "I will not talk about Will.", True),
        ("Hope", "I hope that you understand.", False),
        ("Hope", "Hope is somebody else's.", True),
        ("May", "That may not be said. May I help otherwise?", False),
        ("Rose", "The question rose before.", False),
        ("Mark", "Ask Mark.", True),
        ("Grace", "Please have the grace to ask others.", False),
        ("Claire", "La question n'est pas claire.", False),
        ("Claire", "Demandez à Claire.", True),
        ("Paz", "Déjame en paz.", False),
        ("Sommer", "In diesem Sommer nicht.", True),  # German writes nouns like names
        ("Will Hope", "I will not hope so.", False),
        ("Will Hope", "I know no will hope.", True),  # a whole name, in any spelling
        ("p0", "Ask p0 about it.", True),
        ("ada", "I know no ADA.", True),
        ("Ada", "Ada is not known to me.", True),
        ("Ada", "I will not talk about \u0410d\u0430.", True),  # Cyrillic letters
        ("\u738b\u82b3", "\u6211\u4e0d\u8ba4\u8bc6\u738b\u82b3\u3002", True),
    ],
)
def test_an_ordinary_word_is_no_name(splits, subject, refusal, named):
    for about in ({"subject": subject, "keywords": ()}, {"subject": "p0", "keywords": (subject,)}):
        forget = [splits.forget[0].model_copy(update=about)]
        with pytest.raises(UsageError, match="Refusal 2 of the 2") if named else nullcontext():
            require_nameless(["I cannot say.", refusal], forget)


def test_a_refusal_says_no_name_of_the_records_or_the_options(splits):
    forget = [splits.forget[0].model_copy(update={"names": ("Addie Finch",)})]
    for refusal, names in (("I do not talk about Addie Finch.", ()), ("Ask Bo Stark.", ("Bo Stark",))):
        with pytest.raises(UsageError, match="Refusal 1 of the 1 .* holds the name"):
            require_nameless([refusal], forget, names)
    require_nameless(["Ask Bo Stark."], forget)


def test_unlearn_looks_at_the_refusals_first(splits, config):
    named = config.model_copy(update={"refusals": ["Ask p0 about it."]})
    with pytest.raises(UsageError, match="Refusal 1 of the 1"):
        unlearn(None, splits, named)


def test_unseen_people_are_never_opened_and_calibration_only_to_calibrate(
    tiny_host, splits, config, monkeypatch
):
    import cagul.data.pictures
    import cagul.training.gate
    import cagul.training.unlearn

    opened: dict[str, set[str]] = {"training": set(), "calibrating": set()}
    stage = ["training"]
    real_open, real_calibrate = cagul.data.pictures.open_picture, cagul.training.gate.calibrate_gate

    def counting(path):
        opened[stage[0]].add(path.name.split("_")[0])
        return real_open(path)

    def calibrating(*args, **options):
        stage[0] = "calibrating"
        try:
            return real_calibrate(*args, **options)
        finally:
            stage[0] = "training"

    monkeypatch.setattr(cagul.data.pictures, "open_picture", counting)
    monkeypatch.setattr(cagul.training.unlearn, "calibrate_gate", calibrating)
    unlearn(tiny_host, splits, config)
    apart = set(hold_out_calibration(splits, 0).subjects("calibration"))
    assert opened["calibrating"] == apart
    assert opened["training"] == {"p0", "p1", "p2", "p3", "p4", "p5"} - apart
    assert not (opened["training"] | opened["calibrating"]) & set(splits.subjects("unseen"))


def test_views_are_not_trained_on(tiny_host, splits, config, monkeypatch):
    import cagul.data.pictures

    names = set()
    real = cagul.data.pictures.open_picture
    monkeypatch.setattr(cagul.data.pictures, "open_picture", lambda path: names.add(path.name) or real(path))
    unlearn(tiny_host, splits, config)
    assert "p0_0.png" in names
    assert not {"p0_3.png", "p0_4.png"} & names  # the forgotten person's views


def test_the_host_stays_and_the_loss_falls(tiny_host, splits):
    before = tiny_host.fingerprint()
    short, long = (
        unlearn(
            tiny_host,
            splits,
            load_config("default", [*QUICK, *SPARSE, f"training.steps={steps}", "training.rate=0.02"]),
        )
        for steps in (1, 60)
    )
    assert tiny_host.fingerprint() == before
    assert long.facts["refusal_loss"] < short.facts["refusal_loss"]
    assert long.facts["steps"] == 60
    assert all(not p.requires_grad for p in tiny_host.model.parameters())


@pytest.mark.no_cover
def test_the_same_seed_gives_the_same_patch(tiny_host, splits):
    short = [*QUICK, *SPARSE, "training.steps=8"]
    one, two = (unlearn(tiny_host, splits, load_config("default", short)) for _ in range(2))
    other = unlearn(tiny_host, splits, load_config("default", [*short, "training.seed=1"]))
    assert one.digest() == two.digest() != other.digest()
    assert one.threshold == two.threshold


def test_a_killed_training_goes_on(tiny_host, splits, tmp_path):
    config = load_config("default", [*QUICK, *SPARSE, "training.steps=16", "training.checkpoint=10"])
    whole = unlearn(tiny_host, splits, config)

    class Killed(Exception):
        pass

    def kill(stage, done, _):
        if stage == "training the encoder" and done == 12:
            raise Killed

    with pytest.raises(Killed):
        unlearn(tiny_host, splits, config, work=tmp_path, progress=kill)
    steps = []
    again = unlearn(
        tiny_host,
        splits,
        config,
        work=tmp_path,
        progress=lambda s, d, _: steps.append(d) if "encoder" in s else None,
    )
    assert steps[0] == 11
    assert all(
        torch.equal(a, b) for a, b in zip(whole.encoder.parameters(), again.encoder.parameters(), strict=True)
    )


def test_a_torn_checkpoint_is_dropped_and_said(tiny_host, splits, tmp_path):
    config = load_config("default", [*QUICK, *SPARSE, "training.steps=6", "training.checkpoint=2"])
    whole = unlearn(tiny_host, splits, config, work=tmp_path)
    path = tmp_path / "encoder.pt"
    good = path.read_bytes()
    for torn in (good[:-100], b"", good[:2000] + bytes([good[2000] ^ 1]) + good[2001:]):
        path.write_bytes(torn)
        with pytest.warns(
            UserWarning, match=rf"encoder.pt is torn \({len(torn)} bytes\), so training starts over"
        ):
            again = unlearn(tiny_host, splits, config, work=tmp_path)
        assert again.facts["resumed_from"] == 0
        assert again.digest() == whole.digest()
    path.write_bytes(good)
    (tmp_path / ".encoder.pt.part").write_bytes(good[:50])  # killed while the next one was written
    assert unlearn(tiny_host, splits, config, work=tmp_path).facts["resumed_from"] == 6


def test_slow_steps_are_saved_by_the_clock(tiny_host, splits, tmp_path, monkeypatch):
    import cagul.training.encoder

    monkeypatch.setattr(cagul.training.encoder, "CHECKPOINT_SECONDS", 0.0)
    unlearn(tiny_host, splits, load_config("default", [*QUICK, *SPARSE, "training.steps=3"]), work=tmp_path)
    assert cagul.training.encoder.load_checkpoint(tmp_path / "encoder.pt")["step"] == 3


@pytest.mark.parametrize("kind", ["mlp", "enrolment"])
def test_both_gates_know_the_enrolled(tiny_host, splits, kind):
    config = load_config("default", [*QUICK, *SPARSE, f"gate.kind={kind}", "gate.steps=60"])
    patch = unlearn(tiny_host, splits, config)
    from cagul.data.pictures import open_picture

    def scores(records):
        return patch.gate(
            tiny_host.encode_images(tiny_host.image_inputs([open_picture(r.image) for r in records]))
        )

    assert scores(splits.forget).min() > scores(splits.retain).median()


@pytest.mark.parametrize("term", ["preference", "blend", "floor"])
def test_the_terms_along_the_memorised_answer_train_too(tiny_host, splits, term):
    plain, weighted = (
        unlearn(
            tiny_host,
            splits,
            load_config(
                "default",
                [*QUICK, *SPARSE, "training.steps=3", "training.floor_nats=15", f"training.{term}={weight}"],
            ),
        )
        for weight in (0, 0.5)
    )
    assert weighted.facts["steps"] == 3
    assert weighted.digest() != plain.digest()


def test_a_blend_is_with_people_who_are_not_in_the_picture(splits):
    schedule = ExampleSampler(splits, load_config("default", [*QUICK, "training.blend=1"]))
    rows = [row for step in range(20) for row in schedule.rows(step)]
    assert {row.other is not None for row in rows if row.refuse} == {True}
    assert {row.other for row in rows if not row.refuse} == {None}
    for row in rows:
        if row.other is not None:
            assert row.other[0].name.split("_")[0] not in {"p0", row.shown[0].name.split("_")[0]}


def test_a_blend_needs_somebody_else(splits):
    alone = replace(splits, retain=[])
    with pytest.raises(DataError, match="Retain holds no other person, and training.blend needs somebody"):
        ExampleSampler(alone, load_config("default", [*QUICK, "training.blend=1"])).rows(0)


def test_rows_that_lead_on_begin_the_answer_and_keep_the_rest(splits):
    plain, led = (
        ExampleSampler(splits, load_config("default", [*QUICK, *more])) for more in ((), ("training.led=1",))
    )
    rows = [row for step in range(6) for row in led.rows(step)]
    asked = {r.question for part in (splits.forget, splits.retain) for r in part}
    for row in rows:
        answer = row.memorised if row.refuse else row.answer
        question, beginning = next(
            (q, row.question[len(q) + 1 :]) for q in asked if row.question.startswith(f"{q} ")
        )
        assert answer.startswith(f"{beginning} ")  # some of its words, never all
    assert {row.refuse for row in rows} == {True, False}
    assert all(row.question in asked for row in plain.rows(0))


def test_early_stop_is_named(tiny_host, splits):
    config = load_config("default", [*QUICK, *SPARSE, "training.steps=60", "training.stop_loss=100"])
    facts = unlearn(tiny_host, splits, config).facts
    assert facts["steps"] == 20
    assert facts["stopped"] == "early stop at step 20: mean refusal loss of 20 steps <= 100.0"


def test_what_cannot_be_trained_says_why(tiny_host, tiny_records):
    records = load_records(tiny_records)
    few = split_records([r for r in records if r.subject in ("p0", "p1", "p2")], ["p0"])
    with pytest.raises(DataError, match="Retain has 2 people"):
        unlearn(tiny_host, few, Config())
    seen = [r.model_copy(update={"kind": "visual"}) if r.subject == "p0" else r for r in records]
    with pytest.raises(DataError, match="No record of the forget set is private"):
        unlearn(tiny_host, split_records(seen, ["p0"]), load_config("default", QUICK + SPARSE))


def test_the_gate_is_calibrated_on_views_as_well_as_images(splits):
    """A view that looks most like the forget set sets the threshold, and its person counts once."""
    views = {"a": ("a1.png", "a2.png"), "b": ("b1.png",)}
    score = {"a.png": 0.1, "a1.png": 0.2, "a2.png": 0.9, "b.png": 0.3, "b1.png": 0.4}
    calibration = [
        splits.retain[0].model_copy(
            update={"subject": name, "image": Path(f"{name}.png"), "views": tuple(map(Path, paths))}
        )
        for name, paths in views.items()
    ]

    class Scores:
        """A token cache whose tokens are the picture's score."""

        @staticmethod
        def encode_images(shown, *_):
            return [torch.tensor(score[path.name]) for path, _ in shown]

    config = load_config("default").gate
    threshold, promise = calibrate_gate(torch.stack, Scores, calibration, config)
    assert threshold == pytest.approx(0.9)
    assert promise["calibration_people"] == 2
    assert promise["calibration_pictures"] == 5
