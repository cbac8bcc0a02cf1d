"""Records, configs and lists that nobody should write: a CagulError or a result, and no row is lost in
silence.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cagul.config import PRESETS, Config, load_config
from cagul.data.records import load_records, read_records
from cagul.data.subjects import known_subjects, list_of_subjects, parse_subjects
from cagul.errors import DataError, UsageError
from cagul.text.normal import name_key

CASES = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
AT_LENGTH = settings(CASES, max_examples=5000)

ODD = st.sampled_from(
    [None, True, 0, 7, 7.0, 7.5, "7", "007", "", " ", "nan", "\u200b", "A", "a", [], {}, [None], "é"]
)
FIELDS = st.fixed_dictionaries(
    {"subject": st.sampled_from(["p1", "p2", "José"]), "image": st.just("a.png")},
    optional={
        "kind": ODD,
        "keywords": ODD,
        "views": ODD,
        "group": ODD,
        "question": ODD,
        "answer": ODD,
        "subject ": ODD,
    },
).map(lambda row: {"question": "Who?", "answer": "Ada."} | row)
LINES = st.lists(
    st.one_of(
        FIELDS.map(json.dumps),
        st.tuples(FIELDS, ODD).map(lambda pair: json.dumps(pair[0] | {"subject": pair[1]})),
        st.sampled_from(["", " ", "{", "null", "[]", "NaN", '{"subject": "a", "subject": "b"}', "\ufeff{}"]),
        st.text(max_size=8).filter(lambda text: "\n" not in text and "\r" not in text),
    ),
    max_size=5,
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
MUTATIONS = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), max_size=2)


def check_records(tmp_path, lines, encoding, mutations) -> None:
    data = "\n".join(lines).encode(encoding, "surrogatepass")
    for at, other in mutations:
        data = data[:at] + other + data[at + 1 :]
    path = tmp_path / "r.jsonl"
    path.write_bytes(data)
    try:
        records = read_records(path)
    except DataError as error:
        assert error.remedy  # noqa: PT017 - either outcome is right
    else:
        rows = sum(bool(line.strip()) for line in lines)
        assert mutations or len(records) == rows
        assert len({name_key(r.subject) for r in records}) == len({r.subject for r in records})
    with pytest.raises(DataError):
        load_records(path)  # there is no picture


RECORDS = given(LINES, ENCODINGS, MUTATIONS)


@RECORDS
@CASES
def test_records(tmp_path, lines, encoding, mutations):
    check_records(tmp_path, lines, encoding, mutations)


@pytest.mark.nightly
@RECORDS
@AT_LENGTH
def test_records_at_length(tmp_path, lines, encoding, mutations):
    check_records(tmp_path, lines, encoding, mutations)


KEYS = [
    f"{name}.{key}"
    for name, field in Config.model_fields.items()
    for key in getattr(field.annotation, "model_fields", [])
]
VALUES = st.one_of(
    st.sampled_from(
        "0100 0o17 2:30 yes on true .inf nan 1e-4 1e999 1_000 null ~ 5 0 -1 0.5 [0] [] {} all top".split()
    ),
    st.text(max_size=6),
    st.floats().map(str),
    st.integers().map(str),
)
SETTING = st.tuples(st.sampled_from([*KEYS, *Config.model_fields, "", "x", "training."]), VALUES)
CONFIGS = given(
    st.sampled_from(sorted(PRESETS)), st.lists(SETTING, max_size=2), st.text(max_size=20), ENCODINGS
)


def check_config(tmp_path, preset, pairs, text, encoding) -> None:
    written = [f"{key}={value}" for key, value in pairs]
    sections = "".join(
        f"{key.replace('.', ': {', 1)}: {value}{'}' * (key.count('.') > 0)}\n" for key, value in pairs
    )
    path = tmp_path / "c.yaml"
    for source, given_settings, content in (
        (preset, written, ""),
        (str(path), [], sections),
        (str(path), [], text),
    ):
        path.write_bytes(content.encode(encoding, "surrogatepass"))
        try:
            config = load_config(source, given_settings)
        except UsageError as error:
            assert error.remedy  # noqa: PT017 - either outcome is right
            continue
        path.write_text(config.to_yaml(), "utf-8")
        assert load_config(str(path)) == config


@CONFIGS
@CASES
def test_configs(tmp_path, preset, pairs, text, encoding):
    check_config(tmp_path, preset, pairs, text, encoding)


@pytest.mark.nightly
@CONFIGS
@AT_LENGTH
def test_configs_at_length(tmp_path, preset, pairs, text, encoding):
    check_config(tmp_path, preset, pairs, text, encoding)


PEOPLE = given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
            name_key
        ),
        min_size=1,
        max_size=4,
        unique_by=name_key,
    ),
    ENCODINGS.filter(lambda encoding: encoding != "utf-16-le"),
)


def check_names(tmp_path, people, encoding) -> None:
    """Everybody can be named alone, in quotes and in a list."""
    path = tmp_path / "l.txt"
    path.write_bytes(list_of_subjects(people).encode(encoding))
    assert known_subjects(parse_subjects(f"@{path}", people), people) == people
    quoted = ",".join('"' + name.replace('"', '""') + '"' for name in people)
    if quoted not in people and name_key(quoted) not in map(name_key, people):
        assert known_subjects(parse_subjects(quoted, people), people) == people
    for name in people:
        assert known_subjects(parse_subjects(name, people), people) == [name]


@PEOPLE
@CASES
def test_names(tmp_path, people, encoding):
    check_names(tmp_path, people, encoding)


@pytest.mark.nightly
@PEOPLE
@AT_LENGTH
def test_names_at_length(tmp_path, people, encoding):
    check_names(tmp_path, people, encoding)
