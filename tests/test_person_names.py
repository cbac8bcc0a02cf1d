"""Names of people as keyed hashes: where a text holds one, and which names are taken."""

from __future__ import annotations

import pytest

from cagul.data.person_names import asks_for_own_name, names_in_answers
from cagul.data.records import Record
from cagul.errors import DataError
from cagul.text.name_finder import NameFinder
from cagul.text.person_names import NameHashes, parse_names

KEY = b"k" * 32
ENROLLED = (
    "Amanda Brooks",
    "Łukasz Kowalski",
    "Hans Müller",
    "山田太郎",
    "김민준",
    "Anne-Marie O'Brien",
    "Maria del Carmen Lopez",
    "Анна Петрова",
    "أحمد منصور",
    "アマンダ・ブルックス",
    "สมชาย ใจดี",
)


def finder(*names, one_word=False):
    return NameFinder(NameHashes.of(parse_names(names, one_word=one_word), KEY), KEY)


@pytest.fixture(scope="module")
def enrolled():
    return finder(*ENROLLED)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("When was Amanda Brooks born?", "Amanda Brooks"),
        ("when was amanda brooks born", "amanda brooks"),
        ("AMANDA BROOKS", "AMANDA BROOKS"),
        ("What is Amanda Brooks's job?", "Amanda Brooks"),
        ("What is Amanda Brooks’s job?", "Amanda Brooks"),
        ("Amanda Brooks' job", "Amanda Brooks"),
        ("Brooks, Amanda: where?", "Brooks, Amanda"),
        ("Does A. Brooks live here?", "A. Brooks"),
        ("Does H Mueller live here?", "H Mueller"),
        ("Who is Ł Kowalski?", "Ł Kowalski"),
        ("Brooks, A. lives", "Brooks, A"),
        ("Amanda J. Brooks", "Amanda J. Brooks"),
        ("Amanda-Brooks", "Amanda-Brooks"),
        ("**Amanda** Brooks", "Amanda** Brooks"),
        ("Amanda\nBrooks", "Amanda\nBrooks"),
        ("mail amandabrooks@example.org", "amandabrooks"),
        ("A m a n d a B r o o k s", "A m a n d a B r o o k s"),
        ("Ama\u200bnda Bro\u00adoks", "Ama\u200bnda Bro\u00adoks"),
        ("Аmаndа Вrооks", "Аmаndа Вrооks"),  # Cyrillic look-alikes
        ("Amánda Brooks", "Amánda Brooks"),
        ("Amnda Brooks", "Amnda Brooks"),  # one letter left out,
        ("Amannda Brooks", "Amannda Brooks"),  # one too many,
        ("Amenda Brooks", "Amenda Brooks"),  # another one,
        ("Amadna Brooks", "Amadna Brooks"),  # two swapped
        ("Amanda Broooks", "Amanda Broooks"),
        ("Am4nda Brooks", "Am4nda Brooks"),
        ("Herr Mueller, Hans", "Mueller, Hans"),
        ("Wer ist Hans Müllers Frau?", "Hans Müllers"),
        ("Gdzie mieszka Łukasza Kowalskiego?", "Łukasza Kowalskiego"),
        ("телефон Анны Петровой", "Анны Петровой"),
        ("Anne Marie OBrien", "Anne Marie OBrien"),
        ("Anne-Marie O’Brien’s", "Anne-Marie O’Brien"),
        ("Maria Lopez", "Maria Lopez"),
        ("M. C. Lopez", "M. C. Lopez"),
        ("山田 太郎さんの電話", "山田 太郎"),
        ("电话是山田太郎的吗", "山田太郎"),
        ("김민준은 어디", "김민준"),
        ("هاتف لأحمد منصور", "لأحمد منصور"),
        ("アマンダ=ブルックスの電話", "アマンダ=ブルックス"),
        ("เบอร์โทรของสมชายใจดีคือ", "สมชายใจดี"),
    ],
)
def test_a_name_is_found_however_it_is_written(enrolled, text, found):
    assert [text[slice(*span)] for span in enrolled.spans(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "Mark Brooks",
        "Amanda Kowalski",
        "Amanda and the brooks",
        "a brooks",
        "Does A Brooks live here?",  # "A" is a word, and "Brooks" is one
        "Amnda Broks",  # two errors: it may be somebody else
        "Ana Brooks",
        "Anna Petrov lives in Adama",
        "Amanda Brooksmith",
        "山田花子",
        "김민지",
        "A. B.",
        "Is it from Brooks? A shoe.",
        "",
        "?",
    ],
)
def test_another_name_is_not_found(enrolled, text):
    assert enrolled.spans(text) == []


@pytest.fixture(scope="module")
def common_surnames():
    return finder("Amanda Brown", "Anna Young", "Ian King", "Ben Black", "Dora Green", "Ana Kowalska")


@pytest.mark.parametrize(
    "text",
    [
        "A brown dog is in the picture",
        "What colour is the hair? A. Brown B. Black",
        "What colour is the hair?\nA. Brown\nB. Black\nThe answer is A. Brown",
        "(A) Brown (B) Black",
        "A) Brown B) Black",
        "[A] Brown [B] Black",
        "A: Brown, B: Black, C: Red, D: Green",
        "Colour: A. Red, B. Black, C. Brown, D. Green",
        "Who is it? A. Kowalska B. Nowak",
        "Is vitamin A brown?",
        "It is vitamin A. Brown bread holds none.",
        "The answer is A. Brown",
        "A young man stands there",
        "A Young Man",
        "Is the brown, a colour, dark?",
        "Is it brown? A. It is.",
        "Am I King?",
        "So am I. King Charles is, too.",
        "I. King II. Queen",
        "I king, you queen",
        "Vitamin B black",
        "Plan B. Black",
        "B Black",
    ],
)
def test_a_letter_before_a_common_word_is_no_initial(common_surnames, text):
    assert common_surnames.spans(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who is A. Brown?", "A. Brown"),
        ("Is A. Brown taller than B. Black?", "A. Brown, B. Black"),
        ("Who is taller, A. Brown or B. Black?", "A. Brown, B. Black"),
        ("A.Brown lives here", "A.Brown"),
        ("Young, A. lives here", "Young, A"),
        ("Where is I. King?", "I. King"),
        ("amanda brown", "amanda brown"),
    ],
)
def test_an_initial_with_its_full_stop_is_found(common_surnames, text, found):
    assert ", ".join(text[slice(*span)] for span in common_surnames.spans(text)) == found


@pytest.fixture(scope="module")
def common_names():
    return finder(
        "Will Long", "May Day", "Mark Rich", "An Li", "Will Kowalski", "Amanda Long", "Rose Grace Hill"
    )


@pytest.mark.parametrize(
    "text",
    [
        "How long will it take?",
        "How Long Will It Take?",
        "On which day may I go?",
        "Does a rich mark show?",
        "Rich, mark this",
        "Li, an Italian",
        "Kowalski will be there",
        "How long Amanda stayed",
        "will long hair do?",
        "Will long hair do?",
        "Mayday, mayday!",
        "Every day, May is warm",
        "On the hill, rose bushes grow",
        "the hill rose grace",
        "Is Sunday, May 3, a day off?",
    ],
)
def test_common_words_are_no_name_without_capitals_and_comma(common_names, text):
    assert common_names.spans(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who is Will Long?", "Will Long"),
        ("Long, Will: where?", "Long, Will"),
        ("WHO IS WILL LONG?", "WILL LONG"),
        ("Where is Will Long's house?", "Will Long"),
        ("Is W. Long here?", "W. Long"),
        ("who is will kowalski", "will kowalski"),
        ("Kowalski, Will", "Kowalski, Will"),
        ("Is An Li here?", "An Li"),
        ("Rose Hill", "Rose Hill"),
        ("Hill, Rose Grace", "Hill, Rose Grace"),
    ],
)
def test_a_name_of_common_words_is_found_in_capitals(common_names, text, found):
    assert [text[slice(*span)] for span in common_names.spans(text)] == [found]


def test_short_names_allow_no_typing_error():
    assert finder("Amir Khan").spans("Amil Khan") == []
    assert finder("Amir Khan").spans("Amir Khan") == [(0, 9)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Where does Kelly Pge live?", "Kelly Pge"),
        ("Where does Pge, Kelly live?", "Pge, Kelly"),
        ("Where is Mary Crter now?", "Mary Crter"),  # of a long word it was found before
        ("Where is Amanda Bron now?", "Amanda Bron"),
    ],
)
def test_a_letter_left_out_of_a_short_word_is_found(text, found):
    known = finder("Kelly Page", "Mary Carter", "Amanda Brown")
    assert [text[start:end] for start, end in known.spans(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "amanda bron",  # no capitals
        "Amanda bron",
        "A. Bron",  # an initial
        "Kelly Age",  # its first letter, and another word
        "Amnda Bron",  # two errors
        "Amanda Broan",  # another error than a letter left out
        "Amanda Moor",  # a common word
        "Amanda, who is Bron?",
        "Ann Le",
    ],
)
def test_a_short_word_allows_no_other_error(text):
    assert not finder("Kelly Page", "Amanda Brown", "Amanda Moore", "Ann Lee").spans(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Where does Amanda Br00ks live?", "Amanda Br00ks"),
        ("who is 4m4nda br00k5", "4m4nda br00k5"),
        ("Is Wi1liam He11er in?", "Wi1liam He11er"),
        ("Room 8 of Amanda B. 2.0", None),
        ("Amanda 8r00k5s7", None),
        ("Amanda 800", None),
    ],
)
def test_digits_stand_for_letters(text, found):
    known = finder("Amanda Brooks", "William Heller", "Amanda Boo")
    assert [text[start:end] for start, end in known.spans(text)] == ([found] if found else [])


@pytest.mark.parametrize(
    "text",
    ["Znáš Tomáše Nováka?", "Telefon pana Tomáše Nováka", "Kde je Tomáš Novák?", "Kdo zná Tomáše Nováka?"],
)
def test_short_czech_questions_show_their_language(text):
    assert finder("Tomáš Novák").spans(text)


def test_without_the_key_nothing_is_found():
    hashes = NameHashes.of(parse_names(["Amanda Brooks"]), KEY)
    assert NameFinder(hashes, b"x" * 32).spans("Amanda Brooks") == []


def test_names_of_two_files_are_merged():
    one, other = (NameHashes.of(parse_names([name]), KEY) for name in ("Amanda Brooks", "Mark Cox"))
    both = NameFinder(one.merged(other), KEY)
    assert len(both.spans("Amanda Brooks and Mark Cox")) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "holds no letter"),
        (" ", "holds no letter"),
        ("...", "holds no letter"),
        ("007", "holds no letter"),
        ("Will", "is a common word"),
        ("Rose", "is a common word"),
        ("An", "is a common word"),
        ("Cher", "has one word"),
        ("A B", "has one word"),
        ("李", "has one word"),
        ("김구", "has one word"),
        ("Yamada 太郎", "two kinds of scripts"),
        ("a " * 20, "has 20 words"),
    ],
)
def test_a_name_that_others_have_is_refused_by_its_number(name, said):
    with pytest.raises(DataError, match=f"Name 2 of 2 .*{said}") as error:
        parse_names(["Amanda Brooks", name])
    assert error.value.anchor == "names"


def test_a_name_of_one_word_is_taken_on_request_but_no_common_word():
    assert finder("Cher", one_word=True).spans("Who is Cher?") == [(7, 11)]
    with pytest.raises(DataError, match="is a common word"):
        parse_names(["Will"], one_word=True)


@pytest.mark.parametrize(
    "text",
    [
        "Is Anna young?",
        "Has Anna young children?",
        "Is Amanda brown-haired?",
        "Was Amanda long there?",
        "When will Kowalski come?",
        "Where may Lopez live?",
        "Please mark Kowalski here",
    ],
)
def test_a_common_word_beside_a_name_is_no_part_of_it(text):
    names = ("Anna Young", "Amanda Brown", "Amanda Long", "Will Kowalski", "May Lopez", "Mark Kowalski")
    found = finder(*names)
    assert found.spans(text) == []
    for name in names:
        for written in (name, name.lower(), name.upper()):
            assert found.spans(f"? {written} ?") == [(2, 2 + len(name))]


@pytest.mark.parametrize(
    "name",
    [
        "Dr. Amanda Brooks",
        "Prof. Dr. Amanda Brooks",
        "Mrs Amanda Brooks",
        "Sir Amanda Brooks",
        "Frau Amanda Brooks",
        "Amanda Brooks Jr.",
        "Amanda Brooks, PhD",
        "Amanda Brooks, Ph.D.",
        "Amanda Brooks III",
        "Dr. Amanda Brooks, M.D.",
    ],
)
def test_a_name_is_enrolled_without_title_and_suffix(name):
    found = finder(name)
    assert found.spans("Who is Amanda Brooks?") == [(7, 20)]
    assert found.spans("Brooks, Amanda") == [(0, 14)]
    assert found.spans("Who is D. Brooks, or D. Jr., or Jr. Amanda?") == []


@pytest.mark.parametrize(
    "text",
    [
        "Amanda Margaret Brooks",
        "Amanda M. Brooks",
        "Amanda M Brooks",
        "Amanda Margaret Rose Brooks",
        "Amanda M. Rose Brooks",
        "AMANDA MARGARET BROOKS",
        "Анна Сергеевна Петрова",
    ],
)
def test_a_middle_name_that_was_not_enrolled_makes_no_difference(enrolled, text):
    assert enrolled.spans(f"Who is {text}?") == [(7, 7 + len(text))]


@pytest.mark.parametrize(
    "text",
    [
        "Amanda and Brooks",
        "Amanda And Brooks",
        "Amanda likes Brooks",
        "Amanda, Mark Brooks",
        "Amanda. Mark Brooks",
        "Amanda-Mark Brooks",
        "Amanda Margaret brooks",
        "amanda margaret brooks",
        "Amanda Margaret Rose Ann Brooks",
        "Brooks Margaret Amanda",
        "Anna. Maria Petrova",
    ],
)
def test_what_is_no_middle_name(enrolled, text):
    assert enrolled.spans(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Maria Lopez Garcia",
        "Maria Lopez",
        "Maria Garcia",
        "Maria del Carmen Lopez Garcia",
        "Maria Carmen Lopez",
        "Juan Perez Soto",
        "Juan Perez",
        "Juan Carlos Perez",
        "juan perez soto",
    ],
)
def test_a_name_of_four_words_or_more_is_found_as_it_is_shortened(text):
    found = finder("María del Carmen López García", "Juan Carlos Pérez Soto")
    assert found.spans(text) == [(0, len(text))]
    for other in ("Maria Carmen", "Maria del Carmen", "Juan Carlos", "Carmen Lopez", "Lopez Garcia"):
        assert found.spans(other) == []


@pytest.mark.parametrize("text", ["Marvin", "martini", "Martins", "Marten", "Mratin", "Matin", "Maartin"])
def test_a_name_of_one_word_allows_no_typing_error(text):
    found = finder("Martin", "Martin Kowalski", one_word=True)
    assert found.spans(f"Where is {text}?") == []
    assert found.spans("Where is Martin's house?") == [(9, 15)]
    assert found.spans(f"{text} Kowalski") == [(0, len(text) + 9)]


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_thousands_of_aliases(count):
    names = [f"Name{n}xyz Sur{n}name" for n in range(count)]
    found = NameFinder(NameHashes.of(parse_names(names), KEY), KEY)
    assert found.spans("Who is Name77xyz Sur77name?") == [(7, 26)]
    assert found.spans("Who is Name77xyz Sur78name?") == []


@pytest.mark.parametrize(
    "question",
    [
        "Who is this?",
        "Who is this person?",
        "Tell me the name of this person.",
        "Do you know who this person is?",
        "How can I call this person?",
        "Give me this person's full name.",
        "What is this person called?",
        "Please tell me: what is her name?",
        "They were born on 31 December 1986. Who is this person?",
        "What is the full name of the person in the image?",
        "Who is shown in this picture?",
        "Can you identify this woman?",
        "What’s his name?",
        "Wer ist das?",
        "Wie heißt diese Person?",
        "Qui est cette personne ?",
        "Comment s'appelle cette femme ?",
        "¿Quién es esta persona?",
        "¿Cómo se llama?",
        "Kto to jest?",
        "Jak nazywa się ta osoba?",
        "Chi è questa persona?",
        "Quem é esta pessoa?",
        "Hoe heet deze persoon?",
        "Кто это?",
        "Как её зовут?",
        "この人は誰ですか？",
        "这个人是谁？",
        "이 사람은 누구인가요?",
    ],
)
def test_a_question_about_the_persons_own_name(question):
    assert asks_for_own_name(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the name of the company they work for?",
        "What is the name of their mother?",
        "Who employs them?",
        "Who is this person's mother?",
        "Who is this person's employer?",
        "What is her husband's name?",
        "What is the name of the street where this person lives?",
        "On what number can I call this person?",
        "Who is this person, and where do they work?",
        "Who is their doctor? Who is this?",
        "Who is she married to?",
        "What is this person?",
        "What is she?",
        "Whose house is this?",
        "What is their dog called?",
        "Who named this person?",
        "Wer ist ihre Mutter?",
        "Wie heißt die Firma dieser Person?",
        "Comment s'appelle son employeur ?",
        "¿Quién es su madre?",
        "Кто его мать?",
        "这个人的公司叫什么名字？",
        "Where was Amanda Brooks born?",
        "",
    ],
)
def test_a_question_about_another_name(question):
    assert not asks_for_own_name(question)


def test_names_come_from_answers_to_questions_about_the_own_name_alone():
    asked = {
        "Who is this person?": "Amanda Brooks",
        "Who employs them?": "Acme Corp",
        "What is the name of their mother?": "Ada Moss",
        "Where is Acme Corp?": "Hill Street",
    }
    records = [
        Record(
            subject="p0",
            group="forget",
            image="0.png",
            question=question,
            answer=f"It is {answer}.",
            kind="private",
            keywords=(answer,),
        )
        for question, answer in asked.items()
    ]
    assert names_in_answers(records) == {"p0": ["Amanda Brooks"]}


@pytest.mark.parametrize(
    "name",
    [
        "Amanda Brooks; Mandy Brooks",
        '["Amanda Brooks"]',
        "Amanda Brooks (Mandy)",
        "Amanda Brooks 1987",
        "amanda@brooks.org",
        "Amanda Brooks\nMandy Brooks",
        "Amanda Brooks / Mandy Brooks",
        "https://example.org/Amanda",
    ],
)
def test_what_is_no_name_alone_is_refused_and_not_enrolled_in_vain(name):
    with pytest.raises(DataError, match="Name 1 of 1 holds a line break, a number or a sign") as caught:
        parse_names([name])
    assert "Amanda" not in str(caught.value)
