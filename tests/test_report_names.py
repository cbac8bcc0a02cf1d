"""Names of people in many scripts, whole, inflected and disguised: no shareable page or file holds one."""

from __future__ import annotations

import html
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cagul.cli.common import repeating_command
from cagul.data.records import load_records, split_records
from cagul.evaluation.evaluate import evaluate
from cagul.evaluation.questions import Sample
from cagul.evaluation.run_folder import Run
from cagul.guard.guard import Guard
from cagul.report.hidden_terms import BLOCK, HiddenTerms, name_parts, subject_parts
from cagul.report.html import write_report
from cagul.report.reading import ResultRow
from cagul.report.redaction import Redactor, Shown
from cagul.text.normal import fold
from helpers import make_patch
from made_runs import make_rows, make_run, page_of

PEOPLE = {  # script: name, fact, and forms of either in other people's answers
    "Latin": ("Ada Finch", "Oslo", ["Ada's", "FINCH", "Finches", "In Oslo's"]),
    "Polish": ("Anna Nowak", "Łódź", ["Annę", "Nowakiem", "Anny", "w Łodzi"]),
    "Turkish": ("İbrahim Işık", "İzmir", ["İbrahim'in", "IŞIK'a", "ibrahimin", "Işık’ın", "İzmir'de"]),
    "Cyrillic": ("Анна Петрова", "Москва", ["Анны", "Анну Петрову", "ПЕТРОВОЙ", "в Москве"]),
    "fleeting vowel": ("Павел Дмитриев", "Орёл", ["Павла", "Павлу", "Дмитриева", "в Орле"]),
    "Greek": ("Γιώργος Παπαδόπουλος", "Αθήνα", ["Γιώργου", "Παπαδοπούλου", "ΓΙΩΡΓΟΣ", "Αθήνας"]),
    "Arabic": ("ليلى حداد", "بيروت", ["وليلى", "لِلَيْلَى", "الحداد", "ببيروت"]),
    "Hebrew": ("דוד לוי", "חיפה", ["ודוד", "לדוד", "לוי", "בחיפה"]),
    "Devanagari": ("राम शर्मा", "दिल्ली", ["राम को", "शर्माजी", "दिल्ली में"]),
    "Bengali": ("রহিম মিয়া", "ঢাকা", ["রহিমের", "ঢাকায়"]),
    "Tamil": ("முருகன் செல்வம்", "சென்னை", ["முருகனின்", "செல்வத்தின்", "சென்னையில்"]),
    "Thai": ("สมชาย ใจดี", "เชียงใหม่", ["คุณสมชายอยู่", "สมชายใจดี", "ที่เชียงใหม่"]),
    "Georgian": ("ნინო ბერიძე", "თბილისი", ["ნინოს", "ბერიძის", "თბილისში"]),
    "Armenian": ("Արմեն Սարգսյան", "Երևան", ["Արմենի", "Սարգսյանը", "Երևանում"]),
    "Korean": ("김민수", "부산", ["김민수는", "민수야", "김씨는", "김여사", "김 민수", "부산에"]),
    "Japanese": ("山田太郎", "大阪", ["山田さんは", "太郎くん", "山田 太郎", "大阪に"]),
    "Chinese": ("王小明", "北京", ["王女士住在上海", "小明在", "姓王", "在北京市"]),
    "two characters": ("李娜", "西安", ["李小姐", "娜娜", "西安人"]),
}
DISGUISED = [  # of Ada Finch
    "A. Finch",
    "Finch, A.",
    "A. F.",
    "ada.finch@example.org",
    "@adafinch",
    "AdaFinch",
    "afinch99",
    "ada_f",
    "ada1990",
    "Ad&#97; F&#105;nch",
    "%41da%20Finch",
    "Ａｄａ",
    "𝐀𝐝𝐚 𝐅𝐢𝐧𝐜𝐡",
    "A\u200bda Fi\u00adnch",
    "\u202eAda\u202c Finch",
    "Adа Finсh",  # Cyrillic а and с
    "ADA FINCH",
    "Áda Fínch",
    unicodedata.normalize("NFD", "Áda Fínch"),
    "Ada\u00a0\u00a0Finch",
    "Ada-Finch",
    "the Finch's",
]


def row(key="host/1", split="forget", subject="p1", **fields):
    return ResultRow(key=key, method="host", split=split, kind="private", subject=subject, **fields)


def redactor_of(*names: str, shown=Shown.OTHERS, subject="p1") -> Redactor:
    rows = [
        row(
            f"host/{n}", subject=subject, question="Who is this?", answer=f"This is {name}.", keywords=(name,)
        )
        for n, name in enumerate(names)
    ]
    return Redactor(rows, shown)


OTHER = row("host/other", "retain", "p2")


@pytest.mark.parametrize("script", PEOPLE)
def test_a_name_of_a_forgotten_person_is_left_out_of_other_peoples_answers(script):
    name, fact, forms = PEOPLE[script]
    redactor = redactor_of(name, fact)
    for form in (name, fact, *forms):
        shown = redactor.answer(OTHER, f"Or {form}.")
        assert BLOCK in shown, form
        letters = [c for c in shown.removeprefix("Or ") if c.isalpha()]
        left = "".join(letters)
        assert not any(part in left for part in (name, fact, *name_parts(name), *name_parts(fact))), shown


@pytest.mark.parametrize("form", DISGUISED)
def test_a_disguised_name_is_left_out(form):
    shown = redactor_of("Ada Finch").answer(OTHER, f"I met {form} there.")
    assert shown.replace("the ", "").replace("@", "") in (f"I met {BLOCK} there.", f"I met {BLOCK}there.")


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Rose Will", "A rose will bloom.", f"A {BLOCK} bloom."),
        ("May", "It may rain.", f"It {BLOCK} rain."),
        ("Anna", "Anna saw Annapolis.", f"{BLOCK} saw Annapolis."),
        ("O", "O is 0, or so.", f"{BLOCK} is 0, or so."),
        ("Mary-Ann von Lee", "Ann met von Bonn and Lee.", f"{BLOCK} met von Bonn and {BLOCK}."),
        ("Jean-Luc Roy", "jeanluc and Roys", f"{BLOCK} and {BLOCK}"),
        ("Jürgen Müller", "Juergen Mueller or Jurgen", f"{BLOCK} or {BLOCK}"),
        ("Seán O'Brien", "OBrien, O Brien, Sean", f"{BLOCK}, O {BLOCK}"),
        ("£40,000 a year", "40000 or 40.000, not 41,000", f"{BLOCK} or {BLOCK}, not 41,000"),
        ("12.05.1990", "in 1990 on 12 May", f"in {BLOCK} on 12 May"),
        ("Petr", "Petra, Petrovi, Petroleum", f"{BLOCK}, Petroleum"),
        ("Jean-Luc", "JEAN LUC or Luc.", f"{BLOCK} or {BLOCK}."),
        ("The Hague", "The man in the Hague.", f"The man in {BLOCK}."),
        ("Sørensen Łukasz", "Sorensen and Lukasza", f"{BLOCK} and {BLOCK}"),
        ("1949", "in ١٩٤٩, not 1950", f"in {BLOCK}, not 1950"),
        ("+49 30 1234567", "at 0301234567 or +49-30-1234567", f"at 0301234567 or {BLOCK}"),
    ],
)
def test_names_that_are_words_and_other_neighbours(name, text, shown):
    assert redactor_of(name).text(text) == shown


def test_what_records_call_a_person_counts_as_a_name():
    assert subject_parts("AdaFinch") == subject_parts("ada_finch") == {"Ada", "Finch"}
    assert subject_parts("person-12") == subject_parts("p003") == set()
    redactor = redactor_of("gout", subject="ada.finch-77")
    assert redactor.text("Is Finch at host 7, or ada.finch-77?") == f"Is {BLOCK} at host 7, or {BLOCK}?"


@pytest.mark.parametrize("script", PEOPLE)
def test_a_redacted_page_holds_no_name_that_no_record_names(script):
    """Names in questions and answers alone, of people who have no keyword."""
    name, fact, forms = PEOPLE[script]
    redactor = Redactor([row(question="Where?", answer="", keywords=("x",)), OTHER])
    for form in (name, fact, *forms, *DISGUISED):
        for said in (
            redactor.question(OTHER.model_copy(update={"question": form})),
            redactor.answer(OTHER, form),
        ):
            assert not [c for c in said if c.isalnum() and c.lower() not in "athein"], said


def test_words_of_a_question_are_shown_that_many_people_are_asked():
    rows = [
        row(
            f"host/{n}",
            subject=f"p{n}",
            question=f"{name}는 어디에 사나요? 직업 {n}",
            answer="",
            keywords=("x",),
        )
        for n, name in enumerate(["김민수", "이영희", "박철수", "최지우"])
    ]
    redactor = Redactor(rows)
    assert redactor.question(rows[0]) == f"{BLOCK} 어디에 사나요? 직업 {BLOCK}"
    assert Redactor(rows[:2]).question(rows[0]) == f"{BLOCK}? {BLOCK}"


def test_words_of_keywords_and_words_that_few_are_asked_are_not_shown():
    asked = ["Is the gout bad, Ada?", "Is gout bad?", "Has Ada a bad flu?", "Is ada unwell?", "And ada?"]
    rows = [
        row(f"host/{n}", subject=f"p{n}", question=question, answer="", keywords=("bad gout",))
        for n, question in enumerate(asked)
    ]
    redactor = Redactor(rows[:4])
    assert redactor.question(rows[0]) == f"Is the {BLOCK}?"
    assert redactor.question(rows[3]) == f"Is {BLOCK}?"


def test_a_plain_word_that_is_a_name_is_no_plain_word():
    rows = [row(question="Who is this?", answer="This is An Do.", keywords=("An Do",)), OTHER]
    assert Redactor(rows).answer(OTHER, "An can do this") == f"{BLOCK} can {BLOCK} this"


def texts_of(page: str) -> list[str]:
    plain = html.unescape(page)
    return [unicodedata.normalize(form, plain).casefold() for form in ("NFC", "NFKC")]


@pytest.mark.parametrize("options", [{}, {"reveal_others": True}])
def test_a_page_about_people_in_every_script(tmp_path, options):
    (tmp_path / "pictures").mkdir()
    rows = make_rows(tmp_path / "pictures")
    people, forms = list(PEOPLE.values()), [form for _, _, forms in PEOPLE.values() for form in forms]
    private = [
        one for one in rows if one.get("kind") == "private" and one["split"] == "forget" and "output" in one
    ]
    assert len(private) > len(people)
    for n, one in enumerate([*private, *(one for one in rows if one not in private)]):
        name, fact, _ = people[n % len(people)]
        if one in private:
            one |= {
                "question": f"{name}?",
                "answer": f"{name}, {fact}",
                "keywords": [name, fact],
                "output": name,
            }
        elif "output" in one:
            one |= {"output": f"Or {' / '.join(forms[n % 7 :: 7])}", "question": f"Like {name}?"}
    config = {"refusals": [f"Not {name}." for name, _, _ in people], name: {"Ada": 1}}
    run = make_run(tmp_path / "run", tmp_path / "pictures", rows, patch={"config": config, "threshold": 0.65})
    page, _ = page_of(run, **options)
    for text in texts_of(page):
        for name, fact, _ in people:
            assert name.casefold() not in text
            assert fact.casefold() not in text
            for part in name_parts(name):
                assert len(part) < 3 or f" {part.casefold()}" not in text, part
    assert BLOCK in page


def test_no_file_of_a_run_but_its_rows_holds_a_name(tiny_host, tmp_path, monkeypatch):
    """Rows hold names by design: docs/privacy.md says so, and the file's first line."""
    from helpers import picture

    lines = []
    for n, (name, fact, _) in enumerate(PEOPLE.values()):
        picture(n).save(tmp_path / f"{n}.png")
        fields = {"subject": name, "image": f"{n}.png", "group": "" if n % 3 else "unseen"}
        lines.append(fields | {"question": f"Where does {name} live?", "answer": fact, "keywords": [fact]})
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    forgotten = [line["subject"] for line in lines if not line["group"]][:9]
    monkeypatch.setattr("sys.argv", ["cagul", "evaluate", "--forget", ",".join(forgotten), "--out", "run"])
    run = Run(tmp_path / "run", {}, repeating_command(), lines)
    sample = Sample(views=2, retain=2, unseen=2, misfire=2, gate_views=4, likelihoods=2)
    splits = split_records(load_records(tmp_path / "records.jsonl"), forgotten)
    patch = make_patch(tiny_host)
    patch.threshold = 0.0
    evaluate(tiny_host, Guard(tiny_host, patch), splits, run, sample)
    write_report(tmp_path / "run")
    files = {path.name: path.read_text("utf-8") for path in (tmp_path / "run").iterdir()}
    assert {"manifest.json", "summary.json", "report.html", "rows.jsonl"} <= files.keys()
    assert forgotten[0] in files.pop("rows.jsonl")
    for file, text in files.items():
        escaped = text.encode().decode("unicode_escape") if file.endswith("json") else text
        for said in (*texts_of(text), *texts_of(escaped)):
            for name, fact, _ in PEOPLE.values():
                assert name.casefold() not in said, file
                assert fact.casefold() not in said, file


def test_hidden_terms_of_nothing_leave_a_text_as_it_is():
    assert HiddenTerms([], []).redact("Anything, 100 % of it & more") == "Anything, 100 % of it & more"


LETTERS = {  # of names, by script
    "Latin": "abcdeéfghijklmnoöprstuvyz",
    "Cyrillic": "абвгдеёжзийклмнопрстуя",
    "Greek": "αβγδεζηθικλμνοπρτυω",
    "Arabic": "بتجحدرزسشعفقكلمنهوي",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Devanagari": "कखगचजतदनपबमरलवसह",
    "Bengali": "কখগচজতদনপবমরলসহ",
    "Tamil": "கசஞதநபமயரலவ",
    "Thai": "กขคงจชตทนบปพมยรลวส",
    "Georgian": "აბგდევზიკლმნოპრსტ",
    "Korean": "김이박최정민수지현영서준하은",
    "Japanese": "山田太郎佐藤花子さくらタナカ",
    "Chinese": "王李张刘陈杨赵黄周吴明华丽",
}
WRITTEN = (str, str.upper, str.title, lambda n: n.replace(" ", ""), lambda n: f"@{n.replace(' ', '_')}9")
CASES = settings(max_examples=200, deadline=None, database=None, derandomize=True)


@st.composite
def written_names(draw):
    """A name of two words, and a text of somebody else's that holds it, written in one way or another."""
    word = st.text(draw(st.sampled_from(list(LETTERS.values()))), min_size=2, max_size=7)
    name = f"{draw(word)} {draw(word)}".title()
    form = unicodedata.normalize(
        draw(st.sampled_from(("NFC", "NFD", "NFKC"))), draw(st.sampled_from(WRITTEN))(name)
    )
    at = draw(st.integers(0, len(form)))
    form = form[:at] + draw(st.sampled_from(("", "\u200b", "\u00ad", "\u2060"))) + form[at:]
    return name, draw(st.sampled_from(("", "0 ", "(", "-- "))) + form + draw(
        st.sampled_from(("", ".", ")", ", 0"))
    )


def nothing_of_a_name_is_left(case):
    name, text = case
    left = fold(redactor_of(name).answer(OTHER, text))
    assert BLOCK in left
    assert not [c for c in left if c.isalpha()], (name, text, left)
    assert not [c for c in Redactor([OTHER]).answer(OTHER, text) if c.isalpha()], (name, text)


@given(written_names())
@CASES
def test_nothing_is_left_of_any_name(case):
    nothing_of_a_name_is_left(case)


@pytest.mark.nightly
@given(written_names())
@settings(CASES, max_examples=5000)
def test_nothing_is_left_of_any_name_in_5000_cases(case):
    nothing_of_a_name_is_left(case)
