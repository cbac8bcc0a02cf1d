from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cagul.data.groups import HELD_OUT_GROUPS, canonical_group
from cagul.data.records import Record, load_records, parse_records, parse_subjects, split_records
from cagul.errors import DataError
from helpers import picture

GOOD = {"subject": "p1", "image": "a.png", "question": "Who?", "answer": "Ada."}


def lines(*records):
    return [json.dumps(record) for record in records]


def test_one_string_where_a_list_is_meant(tmp_path):
    (record,) = parse_records(lines(GOOD | {"keywords": "Ada", "views": None}), tmp_path, "f")
    assert record.keywords == ("Ada",)
    assert record.views == ()
    assert record.kind == "private"
    assert record.image == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"image": "a.png", "question": "Who?", "answer": "Ada."}, "line 2: 'subject' is missing"),
        (GOOD | {"kind": "secret"}, "line 2: kind is 'secret', not one of private, visual, general"),
        (GOOD | {"answer": "  "}, "line 2: answer: must not be blank"),
        (GOOD | {"keywords": 3}, "line 2: keywords"),
        ([1], "line 2: input should be a valid dictionary"),
        (GOOD | {"keyword": "Ada"}, "line 2: unknown key 'keyword'. Did you mean 'keywords'"),
    ],
)
def test_a_bad_line_is_named_by_number(tmp_path, bad, says):
    with pytest.raises(DataError) as caught:
        parse_records(lines(GOOD, bad), tmp_path, "f.jsonl")
    assert "f.jsonl: 1 bad record(s)" in str(caught.value)
    assert says in str(caught.value)


def test_broken_json_and_many_mistakes(tmp_path):
    with pytest.raises(DataError, match="7 bad record.*line 1: not JSON.*and 2 more"):
        parse_records(["{"] * 7, tmp_path, "f")
    with pytest.raises(DataError, match="holds no records"):
        parse_records(["", " "], tmp_path, "f")


def test_missing_file_and_missing_picture(tmp_path):
    with pytest.raises(DataError, match="Cannot read records"):
        load_records(tmp_path / "none.jsonl")
    path = tmp_path / "r.jsonl"
    path.write_text(lines(GOOD)[0])
    with pytest.raises(DataError, match=r"1 picture\(s\) are not there, the first is .*a.png"):
        load_records(path)
    picture(0).save(tmp_path / "a.png")
    assert len(load_records(path)) == 1


def people(*names, **extra):
    return [GOOD | {"subject": name, "image": f"{name}.png"} | extra for name in names]


def parsed(tmp_path, *records):
    return parse_records(lines(*records), tmp_path, "f")


def test_splits_take_people_apart(tmp_path):
    records = parsed(
        tmp_path,
        *people("p1", "p2", "p3"),
        *people("u1", group="unseen"),
        *people("c1", group="calibration"),
        *people("l1", group="look-alike"),
        *people("n1", group="no-person"),
    )
    splits = split_records(records, ["p1"], ["p3"])
    assert {name: splits.subjects(name) for name in vars(splits)} == {
        "forget": ["p1"],
        "retain": ["p2"],
        "unseen": ["p3", "u1"],
        "calibration": ["c1"],
        "look_alike": ["l1"],
        "no_person": ["n1"],
    }


@pytest.mark.parametrize(
    ("written", "group"),
    [
        ("look_alike", "look-alike"),
        ("Look Alike", "look-alike"),
        ("lookalike", "look-alike"),
        ("look\N{NON-BREAKING HYPHEN}alike", "look-alike"),
        ("Unseen", "unseen"),
        (" UNSEEN\n", "unseen"),
        ("calibration ", "calibration"),
        ("no_person", "no-person"),
        ("known", "known"),
        ("stranger", "stranger"),
        ("celebrity", "celebrity"),
        ("invented", "invented"),
        ("seen", "seen"),
        (" family", "family"),
        ("", ""),
    ],
)
def test_every_spelling_of_a_group_is_one(tmp_path, written, group):
    (record,) = parsed(tmp_path, *people("u1", group=written))
    assert record.group == group
    splits = split_records(parsed(tmp_path, *people("p1", "p2"), *people("u1", group=written)), ["p1"])
    split = group.replace("-", "_") if group in HELD_OUT_GROUPS else "retain"
    assert "u1" in splits.subjects(split)


TYPOS = {
    "unsen": "unseen",
    "unseeen": "unseen",
    "unseen-people": "unseen",
    "calibraton": "calibration",
    "calib": "calibration",
    "Calibration set": "calibration",
    "callibration": "calibration",
    "lookalikes": "look-alike",
    "look": "look-alike",
    "loook_alike": "look-alike",
    "noperso": "no-person",
    "nopersons": "no-person",
}


@pytest.mark.parametrize(("written", "near"), TYPOS.items())
def test_a_misspelled_group_is_an_error_that_names_the_nearest(tmp_path, written, near):
    with pytest.raises(DataError) as caught:
        parsed(tmp_path, *people("p1"), *people("u1", "u2", group=written))
    text = str(caught.value)
    assert "2 bad record(s): line 2: group: " in text
    assert f"{written!r} is no group. Did you mean {near!r}?" in text
    assert "line 3: " in text
    # neither where the record did not come from a file
    records = [Record(**(GOOD | {"subject": name})) for name in ("p1", "p2")]
    records.append(records[0].model_copy(update={"subject": "u1", "group": written}))
    with pytest.raises(DataError, match=f"Records about 'u1': group: .*Did you mean '{near}'"):
        split_records(records, ["p1"])


@pytest.mark.parametrize(
    "written", ["test", "held-out", "Holdout", "validation", "unknown", "heldout2", "val 1"]
)
def test_a_word_that_means_held_out_elsewhere_is_an_error(tmp_path, written):
    with pytest.raises(DataError, match="would be trained on. Groups that are held out: unseen, calibration"):
        parsed(tmp_path, *people("u1", group=written))


@given(st.sampled_from(HELD_OUT_GROUPS), st.data())
def test_no_single_slip_of_the_hand_trains_on_held_out_people(name, data):
    """One letter dropped, doubled, changed or swapped: the group is understood or refused."""
    at = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz-_ "))
    typo = data.draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + name[at] + name[at:],
                name[:at] + letter + name[at + 1 :],
                name[:at] + letter + name[at:],
                name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
            ]
        )
    )
    try:
        assert canonical_group(typo) == name
    except ValueError as error:
        assert "Did you mean" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("key", ["Group", "GROUP", " group ", "grup", "split", "set"])
def test_a_group_under_another_key_is_an_error(tmp_path, key):
    with pytest.raises(DataError, match=f"line 2: unknown key '{key}'"):
        parsed(tmp_path, *people("p1"), *people("u1", **{key: "unseen"}))


@pytest.mark.parametrize(
    ("forget", "says"),
    [
        ([], "forget set is empty"),
        (["pp1"], "No record is about the subject 'pp1'.*Did you mean 'p1'"),
        (["p1", "p2"], "names all 2 subject"),
    ],
)
def test_forget_sets_that_make_no_sense(tmp_path, forget, says):
    import re

    with pytest.raises(DataError) as caught:
        split_records(parsed(tmp_path, *people("p1", "p2")), forget)
    assert re.search(says, str(caught.value), re.DOTALL)


def test_a_shared_picture_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"1 picture\(s\) are in forget and in retain"):
        split_records(parsed(tmp_path, *people("p1", "p2", image="same.png")), ["p1"])


def test_held_out_pictures_and_people_stay_apart(tmp_path):
    mixed = [*people("p1", "p2"), *people("p2", group="calibration")]
    with pytest.raises(DataError, match="'p2' has records in two splits, retain and calibration"):
        split_records(parsed(tmp_path, *mixed), ["p1"])
    for extra in (people("u1", group="unseen", image="p2.png"), people("p3", views=["p2.png"])):
        with pytest.raises(DataError, match=r"1 held-out picture\(s\) are training images too"):
            split_records(parsed(tmp_path, *people("p1", "p2"), *extra), ["p1"])


def test_subjects_from_text_and_file(tmp_path):
    (tmp_path / "l.txt").write_text("p1\np2\n")
    assert parse_subjects(" p1, p2,") == ["p1", "p2"]
    assert parse_subjects(f"@{tmp_path}/l.txt") == ["p1", "p2"]
    with pytest.raises(DataError, match="Cannot read the list"):
        parse_subjects("@nowhere")


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.recursive(
                st.none() | st.integers() | st.text(),
                lambda c: (
                    st.lists(c) | st.dictionaries(st.sampled_from([*GOOD, "kind", "keywords", "views"]), c)
                ),
            ).map(json.dumps),
        ),
        max_size=4,
    )
)
def test_no_input_ends_in_anything_but_records_or_a_data_error(found):
    from pathlib import Path

    try:
        assert parse_records(found, Path("."), "f")
    except DataError as error:
        assert "docs/errors.md#records" in str(error)  # noqa: PT017 - either outcome is right


def test_a_folder_in_the_place_of_a_records_file_names_the_verb_that_reads_one(tmp_path):
    with pytest.raises(
        DataError, match=r"Is a directory.*\n.*`cagul records convert FOLDER --out NEW` writes"
    ):
        load_records(tmp_path)


@pytest.mark.parametrize(
    ("kind", "held_out", "read"),
    [
        ("visual", True, True),
        ("visual", False, True),
        ("private", False, True),
        ("private", True, False),
        ("general", True, False),
    ],
)
def test_only_visual_records_are_held_out(tmp_path, kind, held_out, read):
    row = {"subject": "p", "image": "a.png", "question": "What is it ?", "answer": "A star.", "kind": kind}
    (tmp_path / "r.jsonl").write_text(json.dumps(row | {"held_out": held_out}))
    picture(1).save(tmp_path / "a.png")
    if read:
        assert [r.held_out for r in load_records(tmp_path / "r.jsonl")] == [held_out]
    else:
        with pytest.raises(DataError, match="held_out is for visual records"):
            load_records(tmp_path / "r.jsonl")
