"""What a word takes on in a sentence: endings of at most three letters, by language. Source: ours, from the
languages' grammars.

A script of one language tells its own endings. Those of the Latin script apply only where the text or the
term shows the language by a frequent word or a letter of its own: the "a" of Polish's "Adama" would else find
Ann in Anna. An ending after an apostrophe needs no list, because the word ends at the apostrophe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import regex

from cagul.text.normal import fold_letters

SHORTEST = 3  # letters of a word that takes endings; of its stem one less
DOUBLED = regex.compile(r"(.)\1$")  # Slavic and Turkish names do not end so, but Ann does, beside Anna
# each script's own: folded, Greek's η and Cyrillic's н are both h
_VOWELS = {
    script: frozenset(fold_letters(letters))
    for script, letters in (("Latin", "aeiouy"), ("Cyrillic", "аеёиоуыэюяіїєйь"), ("Greek", "αειηουω"))
}
_SLAVIC = "C: a u em e i y om ovi"


@dataclass(frozen=True)
class Language:
    """``rules`` holds lines "final>stem: endings": a word that ends in ``final`` also occurs with ``stem``
    and one of the endings in its place. C stands for any consonant, V for any vowel, nothing for any letter.
    ``words`` and ``letters`` show that a text is in the language.
    """

    rules: str
    words: str = ""
    letters: str = ""


# by the script of a word's last letter
SCRIPTS = {
    "Cyrillic": Language(
        """
        C: а у ом ем ём е ы и ой ою ым ых ов ам ах ами ові еві
        ь>: я ю ем ём е и ей ев ям ях
        й>: я ю ем ём ї є е и
        а>: ы и е у ой ою ей ам ах ами і о
        я>: и е ю ей ёй ею ям ях ї і
        о>: а у ом
        ий>: ого его ому ему им ом ем ая ой ую их ие ими
        ый>: ого ому ым ом ая ой ую ых ые
        ой>: ого ому ым ом ая ую ых ые
        ая>: ой ую ою ей юю
        ец>ц: а у ем ом е ы ев
        ок>к: а у ом е и ов
        ек>к: а у ом е и ов
        ел>л: а у ом е
        """
    ),
    "Greek": Language(
        """
        ος>: ο ου ε οι ων ους
        ης>: η
        ας>: α
        ες>: ε
        ους>: ου
        α: ς
        η: ς
        ω: ς
        C: ος ου ο
        """
    ),
    "Hangul": Language(
        ": 은 는 이 가 을 를 의 에 도 와 과 로 씨 님 만 야 아 랑 께 양 군 이는 이가 이를 이의 이와 이랑 이도 에게 한테 에서 으로 까지 "
        "부터 처럼 보다 라는 라고 이라 께서 에는 에도 에만 이다 이야 예요 씨는 씨가 씨의 씨를 씨도 님은 님이 님의 님을 이라고 이라는 "
        "에게는 에게서 한테서 입니다 이에요 으로는 에서는 이었다 였다"
    ),
    "Devanagari": Language(": जी ने ला ले को का की के चा ची चे शी त ना लाई मा ों ें"),
    "Bengali": Language(": র ের কে রা দের তে য় টি ও ই য়ের"),
    "Gujarati": Language(": ને નો ની નું ના થી માં એ"),
    "Tamil": Language(
        """
        ்>: ை ின் ால் ிடம் ுக்கு ுடன் ோடு
        : வை வின் வால் விடம் வுக்கு வுடன் யை யின் யால் யிடம் க்கு
        """
    ),
    "Telugu": Language(": కి కు ని ను తో లో గారు"),
    "Kannada": Language(": ಗೆ ನ ಯ ನಿಗೆ ಳಿಗೆ ನನ್ನು ಯನ್ನು ಅವರು"),
    "Malayalam": Language(": യെ യുടെ ക്ക് ന്റെ നെ യിൽ"),
    "Armenian": Language(": ը ն ի ին ից ով ու ում ս դ նի"),
    "Georgian": Language(
        """
        ი>: ის ს მა ით ად ო ის ში ზე თან
        : ს მ თი დ ზე ში სი თან
        """
    ),
    "Ethiopic": Language(": ን ም ና"),
}

# by the language of the text
LATIN = {
    "German": Language(
        """
        : s
        e: n ns
        t: en es
        d: en es
        s: es
        ss: es
        x: es
        z: es
        f: es
        b: es
        k: es
        """,
        "der das ist und nicht eine einer einen einem heißt heisst wohnt arbeitet geboren wurde dem für über auf aus "
        "ich sie bei nach zum zur vom kenne weiß ihre seine wird kann",
        "ß",
    ),
    "Dutch": Language(
        ": s", "het een niet woont werkt heet geboren zijn haar wordt deze persoon voor ik weet naam"
    ),
    "Scandinavian": Language(
        ": s",
        "och är inte bor heter född som det jag hon han er og ikke født hun jeg på til denne personen av",
    ),
    "Polish": Language(
        """
        C: a u em iem ie y i owi om ami ach ów
        ek>k: a owi iem u
        ec>c: a owi em u
        el>l: a owi em u
        a>: y i ie e ę ą o
        ka>c: e
        ga>dz: e
        ra>rz: e
        ta>ci: e
        da>dzi: e
        ła>l: e
        ska>sk: iej ą ie ich im
        cka>ck: iej ą ie ich im
        i: ego emu m ch mi
        y>: ego emu ym ych ej ymi
        """,
        "jest się nie mieszka nazywa urodził urodziła przez pani dla jego jej został została adres imię nazwisko "
        "osoba znam wiem tej tego oraz która który pracuje numer "
        "gdzie wiesz znasz powiedz podaj napisz kiedy jaki jaka jakie",
        "ąęłńśźż",
    ),
    "Czech": Language(
        f"""
        {_SLAVIC}
        ek>k: a ovi em u
        ec>c: e i em
        el>l: a ovi em u
        a>: y e u ou o i
        y>: eho emu ym em
        i: ho mu m
        """,
        "není bydlí jmenuje narodil narodila byl byla jeho její paní číslo adresa který která osoba tato žije volá nie "
        "býva narodený volá ktorá ktorý kde kdo kdy znáš znáte znám pana jaká jaký jaké řekni napiš pracuje",
        "ěřůľĺŕ",
    ),
    "South Slavic": Language(
        f"""
        {_SLAVIC}
        a>: e i u o om
        """,
        "živi zove nije rođen rođena koji koja njegov njegova njezin njezina ime osoba živí stanuje rojen rojena",
        "đ",
    ),
    "Finnish": Language(
        """
        V: n a ta ssa sta lla lta lle ksi na an en in t
        C: in ia iin
        nen>s: en ta een
        """,
        "ja ei asuu hän hänen nimi nimeni syntyi että puhelinnumero osoite oli mutta joka kanssa syntynyt tämä henkilö "
        "tämän tunne tiedä",
    ),
    "Estonian": Language(
        ": l le lt ga ks st sse s t ni na", "elab sündis tema nimi isik inimene aadress kes see oli ning ja"
    ),
    "Hungarian": Language(
        """
        : t at et ot ban ben nak nek val vel hoz hez ra re rol tol bol ig ert on en nal nel ba be
        r: ral rel
        """,
        "egy és nem hogy lakik neve született volt aki címe telefonszáma ez személy ismerem tudom",
        "őű",
    ),
    "Turkish": Language(
        """
        C: in un a e i u de da te ta den dan ten tan ler lar le la
        V: nin nun ya ye yi yu da de dan den yla yle lar ler
        """,
        "bir bu ve için olan değil adı adres adresi numarası kişi kişinin yaşıyor doğdu ile olarak onun telefonu "
        "tanımıyorum bilmiyorum oturuyor",
        "ğışİ",
    ),
    "Romanian": Language(
        """
        a>: ei e o i
        C: ul lui
        """,
        "este și nu locuiește numele din pentru care născut născută adresa lui persoana această sunt",
        "țţăș",
    ),
    "Lithuanian": Language(
        """
        as>: o ui a u e
        is>: io iui i iu
        us>: aus ui u
        a>: os ai a oje
        e>: es ei e
        """,
        "yra gyvena gimė vardas asmuo jos jo kuris kuri šis",
        "ųėį",
    ),
    "Latvian": Language(
        """
        s>: a am u
        is>: a im i
        a>: as ai u
        e>: es ei i
        """,
        "ir dzīvo dzimis dzimusi vārds persona viņa viņas kas šī",
        "āēģķļņ",
    ),
    "Indonesian": Language(": nya", "adalah tidak yang dengan nomor lahir tinggal dia orang ini saya alamat"),
}

# what is written together with a word's beginning: conjunctions, prepositions, articles; of Korean, surnames
BEFORE = {
    "Arabic": "(?:[وف]?(?:ب|ل|ك|ال|بال|لل)?)",
    "Hebrew": "[ושהבלמכ]{0,2}",
    "Ethiopic": "[የለከበ]?",
    "Hangul": "[김이박최정강조윤장임한오서신권황안송류홍전고문양손배백허유남심노하곽성차주우구나민진지엄채원천방공현함변염여추도소석선설마길연위표명기반왕금옥육인맹제모탁국어]?",
}
_SCRIPT = {name: regex.compile(rf"\p{{{name}}}") for name in ("Latin", *SCRIPTS, *BEFORE)}
_TOKEN = regex.compile(r"\p{Latin}+")


@lru_cache(maxsize=65536)
def script_of(word: str) -> str:
    """The script of a word, among those that have rules here; "" for the others. A word with any Latin letter
    is Latin: letters of other scripts in it are look-alikes.
    """
    return next((name for name, letter in _SCRIPT.items() if letter.search(word)), "")


@cache
def _signs() -> dict[str, frozenset[str]]:
    """The words and letters that show a language -> the languages that they show."""
    signs: dict[str, set[str]] = {}
    for name, language in LATIN.items():
        for sign in (*language.words.split(), *language.letters):
            signs.setdefault(sign, set()).add(name)
    return {sign: frozenset(names) for sign, names in signs.items()}


@lru_cache(maxsize=4096)
def languages_of(text: str) -> frozenset[str]:
    """The languages of the Latin script that the text shows by a frequent word or by a letter of its own."""
    signs = _signs()
    plain = text.casefold()
    shown = [
        signs[sign]
        for sign in {*_TOKEN.findall(plain), *({*text, *plain} if not text.isascii() else ())}
        if sign in signs
    ]
    return frozenset[str]().union(*shown)


@lru_cache(maxsize=65536)
def inflected(word: str, script: str, languages: frozenset[str] = frozenset()) -> str:
    """The pattern of a folded word of letters and of what it becomes with the endings of its script, or of
    these languages if it is Latin.
    """
    forms = [regex.escape(word)]
    if len(word) < SHORTEST and script != "Hangul":
        return forms[0]
    for name in sorted(languages) if script == "Latin" else [script] if script in SCRIPTS else []:
        for final, stem, endings in _rules(name):
            if _ends(word, final, script):
                kept = word if stem is None else word[: len(word) - len(final)] + stem
                forms.append(f"{regex.escape(kept)}(?:{endings})")
    return f"(?:{'|'.join(reversed(forms))})" if len(forms) > 1 else forms[0]


@lru_cache(maxsize=65536)
def stems(word: str, script: str, languages: frozenset[str] = frozenset()) -> frozenset[str]:
    """The words that a folded word may be a form of, by the endings of its script, or of these languages if
    it is Latin: those that ``inflected`` finds it for.
    """
    found = set()
    shortest = 1 if script == "Hangul" else SHORTEST
    for name in sorted(languages) if script == "Latin" else [script] if script in SCRIPTS else []:
        for final, stem, pattern in _rules(name):
            for ending in pattern.replace("\\", "").split("|"):
                kept = word.removesuffix(ending)
                if kept == word or not kept.endswith(stem or ""):
                    continue
                whole = kept if stem is None else kept[: len(kept) - len(stem)] + final
                if len(whole) >= shortest and _ends(whole, final, script):
                    found.add(whole)
    return frozenset(found)


def without_prefix(word: str, script: str) -> Iterator[str]:
    """A word without what its script writes together with its beginning."""
    if script in BEFORE:
        for length in range(1, min(4, len(word) - 1)):
            if regex.fullmatch(BEFORE[script], word[:length]):
                yield word[length:]


def _ends(word: str, final: str, script: str) -> bool:
    if final == "C":
        return word[-1] not in _VOWELS[script] and not DOUBLED.search(word)
    if final == "V":
        return word[-1] in _VOWELS[script]
    return word.endswith(final) and len(word) - len(final) >= SHORTEST - 1 or not final


@cache
def _rules(name: str) -> list[tuple[str, str | None, str]]:
    """A language's rules, folded: the final letters, what stands in their place (None: they stay), a pattern
    of endings.
    """
    rules = []
    for line in (SCRIPTS | LATIN)[name].rules.strip().splitlines():
        head, _, endings = line.strip().partition(":")
        final, arrow, stem = head.partition(">")
        longest_first = sorted({fold_letters(ending) for ending in endings.split()}, key=len, reverse=True)
        if final not in ("C", "V"):
            final = fold_letters(final)
        rules.append(
            (final, fold_letters(stem) if arrow else None, "|".join(map(regex.escape, longest_first)))
        )
    return rules
