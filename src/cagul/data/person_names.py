"""The names of people in their records: in the field ``names``, or in answers that say who somebody is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import regex

from cagul.data.records import Record
from cagul.text.normal import fold

# "this person", "the man in the picture": who is asked about
_EN = (
    r"(?:th(?:is|e|at)|(?:s?he|they)\b) ?(?:(?:young|old|older|same) )?"
    r"(?:person|individual|man|woman|boy|girl|lady|gentleman|guy|child|subject|face)?"
    r"(?: (?:who is )?(?:shown|pictured|depicted|seen|here|above|below))?"
    r"(?: (?:in|on|of|from) (?:th(?:is|e|at)|these) (?:picture|image|photo|photograph|portrait)s?)?"
)
_DE = "(?:(?:diese|die) (?:person|frau)|(?:dieser|der) mann)"
_DE_PICTURE = "(?:auf|in) (?:dem|diesem) (?:bild|foto)"
_FR = "(?:cette personne|cet homme|cette femme)"
_ES = "(?:esta persona|este hombre|esta mujer|el|ella)"
_PL = "(?:ta osoba|ten mezczyzna|ta kobieta)"
_OWN = "(?:(?:full|real|first and last|complete) )?name"
# questions about the person's own name, whole sentences without their polite beginning. By language.
_ASKS_FOR_OWN_NAME = (
    rf"who(?:'s| is| are| was) {_EN}",
    rf"who {_EN} (?:is|are|was)",
    rf"(?:what(?:'s| is| was) )?the {_OWN} of {_EN}",
    rf"(?:what(?:'s| is| was) )?(?:{_EN}'s?|their|his|her) {_OWN}",
    rf"(?:what|how) (?:is|are|was) {_EN} (?:called|named)",
    rf"(?:what|how) (?:do we|do you|can i|do i|should i) call {_EN}",
    rf"(?:by )?what name (?:does {_EN} (?:have|go by)|do they (?:have|go by)|is {_EN} known by)",
    rf"who (?:could|might|may) {_EN} be",
    r"who (?:is (?:shown|pictured|depicted|seen|here|that|it)|do (?:you|we) see)?"
    r"(?: ?(?:is )?(?:in|on) (?:this|the) (?:picture|image|photo|photograph|portrait))?(?: here)?",
    r"which person is (?:this|that|it)",
    rf"what {_EN} (?:is|are) (?:called|named)",
    rf"what (?:{_EN}'s?|their|his|her) {_OWN} is",
    r"whose (?:picture|image|photo|photograph|portrait|face) is (?:this|that|it|shown here)",
    rf"(?:identify|name) {_EN}",
    # German, French, Spanish
    rf"wer ist (?:das|er|sie|dies|{_DE})(?: {_DE_PICTURE})?",
    rf"wie (?:heisst|ist der (?:volle )?name) (?:das|er|sie|{_DE})(?: {_DE_PICTURE})?",
    r"(?:wie|was) ist (?:der (?:volle )?name (?:dieser|der) person|(?:ihr|sein) (?:voller )?name)",
    rf"qui est(?:-ce| {_FR})?(?: sur (?:la|cette) (?:photo|image))?",
    rf"comment s'appelle(?:-t-(?:il|elle)| {_FR})(?: sur (?:la|cette) (?:photo|image))?",
    r"quel est (?:le nom (?:complet )?de cette personne|son nom(?: complet)?)",
    rf"quien es(?: {_ES})?(?: (?:en|de) (?:la|esta) (?:foto|imagen))?",
    rf"como se llama(?: {_ES})?",
    r"cual es (?:el nombre (?:completo )?de esta persona|su nombre(?: completo)?)",
    # Italian, Portuguese, Polish, Dutch, Turkish
    r"chi e(?: questa persona| quest'uomo| questa donna)?",
    r"come si chiama(?: questa persona| quest'uomo| questa donna)?",
    r"quem e(?: esta pessoa| este homem| esta mulher)?",
    r"como se chama(?: esta pessoa)?",
    r"qual e o nome (?:completo )?desta pessoa",
    rf"kto to(?: jest)?|kim jest {_PL}",
    rf"jak (?:sie )?nazywa(?: sie)? {_PL}|jak {_PL} sie nazywa",
    r"wie is (?:dit|deze persoon|deze man|deze vrouw)",
    r"hoe heet (?:deze persoon|hij|zij)|wat is de (?:volledige )?naam van deze persoon",
    r"bu (?:kisi )?kim(?:dir)?|bu kisinin adi ne(?:dir)?",
    # Russian, Japanese, Chinese, Korean, Arabic
    r"кто (?:это|этот человек|эта женщина|этот мужчина)",
    r"как (?:ее |его )?зовут(?: этого человека| эту женщину)?",
    r"(?:この人|こちら)?(?:は|の(?:名前|氏名)は)?(?:誰|だれ|どなた|何)(?:ですか|という名前ですか)?",
    r"(?:这|這|图中的)?(?:个|個)?(?:人|位)?是(?:谁|誰)",
    r"(?:这|這)(?:个人|個人|位)(?:叫什么(?:名字)?|叫什麼(?:名字)?|的名字是什么)",
    r"이 ?(?:사람|분)(?:은|의 이름은)? ?(?:누구|무엇)(?:인가요|입니까|이에요|예요)?",
    r"من (?:هذا|هذه)(?: الشخص)?|ما اسم هذا الشخص",
)
_POLITE = (
    r"(?:please |can you |could you |would you |do you know |do you recognise |i wonder |"
    r"in (?:this|the) (?:picture|image|photo) |"
    r"(?:can |could |please )?(?:you )?(?:please )?(?:tell|give|say to) (?:me |us )?|say )*"
)
_SENTENCE = regex.compile(r"([^.?!;؟？。！]+)([.?!;؟？。！]*)")


def _without_accents(text: str) -> str:
    return (
        unicodedata.normalize(
            "NFC", regex.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFD", fold(text)))
        )
        .replace("ł", "l")
        .replace("ı", "i")
    )


_ASKS = regex.compile(_POLITE + "(?:" + "|".join(map(_without_accents, _ASKS_FOR_OWN_NAME)) + ")(?: please)?")


def asks_for_own_name(question: str) -> bool:
    """Whether a text asks who the person is, and nothing else: no employer, mother or street. Statements
    before the question may say anything.
    """
    sentences = [
        (one.strip(" ¿¡:,\"'"), mark)
        for one, mark in _SENTENCE.findall(_without_accents(question))
        if one.strip()
    ]
    asked = [
        regex.sub("[,:]", "", one)
        for n, (one, mark) in enumerate(sentences, 1)
        if "?" in mark or n == len(sentences)
    ]
    return bool(asked) and all(map(_ASKS.fullmatch, asked))


def names_of_records(records: Iterable[Record]) -> dict[str, list[str]]:
    """Subject -> the names in the field ``names`` of its records, each once."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record.names:
            found.setdefault(record.subject, {}).update(dict.fromkeys(record.names))
    return {subject: list(names) for subject, names in found.items()}


def names_in_answers(records: Iterable[Record]) -> dict[str, list[str]]:
    """Subject -> keywords of several words in the answers to questions about its own name."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        if record.kind == "private" and asks_for_own_name(record.question):
            for keyword in record.keywords_in_answer():
                if len(keyword.split()) > 1 and not any(map(str.isdigit, keyword)):
                    found.setdefault(record.subject, {})[keyword] = None
    return {subject: list(names) for subject, names in found.items()}


def name_of(records: Sequence[Record]) -> str:
    """The first name in a person's records; empty without any."""
    found = names_of_records(records) or names_in_answers(records)
    return next((name for names in found.values() for name in names), "")
