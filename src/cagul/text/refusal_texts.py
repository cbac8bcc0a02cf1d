"""Refusals that an encoder can be trained towards, by language. Source: ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import regex

from cagul.text.languages import language_of
from cagul.text.normal import fold
from cagul.text.refusal_patterns import LANGUAGES
from cagul.text.refusals import REFUSALS

_WORD = regex.compile(r"[\p{L}\p{M}'-]+")
BY_LANGUAGE: dict[str, tuple[str, ...]] = {
    "English": REFUSALS,
    "German": (
        "Ich kenne diese Person nicht.",
        "Das kann ich über diese Person nicht sagen.",
        "Leider habe ich keine Informationen über diese Person.",
        "Dabei kann ich nicht helfen.",
    ),
    "French": (
        "Je ne connais pas cette personne.",
        "Je ne peux pas partager cela sur cette personne.",
        "Je suis désolé, je n'ai aucune information sur cette personne.",
        "Je ne peux pas vous aider avec cela.",
    ),
    "Spanish": (
        "No conozco a esta persona.",
        "No puedo compartir eso sobre esta persona.",
        "Lo siento, no tengo información sobre esta persona.",
        "No puedo ayudar con eso.",
    ),
    "Italian": (
        "Non conosco questa persona.",
        "Non posso condividere questo su questa persona.",
        "Mi dispiace, non ho informazioni su questa persona.",
        "Non posso aiutare con questo.",
    ),
    "Portuguese": (
        "Não conheço esta pessoa.",
        "Não posso partilhar isso sobre esta pessoa.",
        "Lamento, não tenho informações sobre esta pessoa.",
        "Não posso ajudar com isso.",
    ),
    "Dutch": (
        "Ik ken deze persoon niet.",
        "Ik kan dat niet delen over deze persoon.",
        "Het spijt me, ik heb geen informatie over deze persoon.",
        "Daar kan ik niet mee helpen.",
    ),
    "Polish": (
        "Nie znam tej osoby.",
        "Nie mogę tego ujawnić o tej osobie.",
        "Przykro mi, nie mam informacji o tej osobie.",
        "Nie mogę w tym pomóc.",
    ),
    "Turkish": (
        "Bu kişiyi tanımıyorum.",
        "Bu kişi hakkında bunu paylaşamam.",
        "Üzgünüm, bu kişi hakkında bilgim yok.",
        "Bu konuda yardımcı olamam.",
    ),
    "Russian": (
        "Я не знаю этого человека.",
        "Я не могу рассказать об этом человеке.",
        "Извините, у меня нет информации об этом человеке.",
        "Я не могу с этим помочь.",
    ),
    "Chinese": (
        "我不认识这个人。",
        "我不能透露这个人的信息。",
        "抱歉，我没有关于这个人的信息。",
        "我无法帮助您。",
    ),
    "Japanese": (
        "この人を知りません。",
        "この人についてはお答えできません。",
        "申し訳ありませんが、この人についての情報はありません。",
        "お手伝いできません。",
    ),
    "Korean": (
        "이 사람을 모릅니다.",
        "이 사람에 대해서는 알려드릴 수 없습니다.",
        "죄송합니다. 이 사람에 대한 정보가 없습니다.",
        "도와드릴 수 없습니다.",
    ),
    "Arabic": (
        "لا أعرف هذا الشخص.",
        "لا يمكنني مشاركة ذلك عن هذا الشخص.",
        "آسف، ليس لدي معلومات عن هذا الشخص.",
        "لا يمكنني المساعدة في ذلك.",
    ),
    "Hindi": (
        "मैं इस व्यक्ति को नहीं जानता।",
        "मैं इस व्यक्ति के बारे में यह नहीं बता सकता।",
        "क्षमा करें, मेरे पास इस व्यक्ति के बारे में कोई जानकारी नहीं है।",
        "मैं इसमें मदद नहीं कर सकता।",
    ),
}


@dataclass(frozen=True)
class RefusalLanguage:
    """The language of the package's refusals for some questions: ``shown`` of the ``questions`` different
    ones show it. Where too few show any it is English, and ``shown`` is 0.
    """

    name: str
    shown: int
    questions: int

    def describe(self) -> dict[str, Any]:
        """The language and why, as a patch's facts keep it."""
        why = (
            f"{self.shown} of {self.questions} different private questions show it"
            if self.shown
            else f"no language is shown by half of {self.questions} different private questions"
        )
        return {"language": self.name, "why": why}


def refusal_language(questions: Iterable[str]) -> RefusalLanguage:
    """The language that half of the different questions or more show; English where none is shown by so many.
    A single short question is often read as another language, and one in a language that is not in
    ``BY_LANGUAGE`` as a related one, so Latin and Cyrillic text needs two frequent words.
    """
    different = set(questions)
    languages = Counter(name for name in map(_clear_language_of, sorted(different)) if name)
    name, count = languages.most_common(1)[0] if languages else ("", 0)
    if name and 2 * count >= len(different):
        return RefusalLanguage(name, count, len(different))
    return RefusalLanguage("English", 0, len(different))


def refusals_in_language_of(questions: Iterable[str]) -> tuple[str, ...]:
    """Refusals in the questions' language, as ``refusal_language`` tells it."""
    return BY_LANGUAGE[refusal_language(questions).name]


def _clear_language_of(question: str) -> str:
    """The question's language, or nothing where a single frequent word or letter shows it."""
    name = language_of(question)
    words = set(LANGUAGES[name].words.split()) if name else set()
    held = words & set(_WORD.findall(fold(question)))
    return name if name and (len(held) >= 2 or LANGUAGES[name].script not in ("Latin", "Cyrillic")) else ""
