"""The question who somebody is, by language: what a name probe asks a host. Source: ours."""

from __future__ import annotations

from collections.abc import Iterable

from cagul.text.refusal_texts import refusal_language

BY_LANGUAGE = {
    "English": "Who is this person?",
    "German": "Wer ist diese Person?",
    "French": "Qui est cette personne ?",
    "Spanish": "¿Quién es esta persona?",
    "Italian": "Chi è questa persona?",
    "Portuguese": "Quem é esta pessoa?",
    "Dutch": "Wie is deze persoon?",
    "Polish": "Kim jest ta osoba?",
    "Turkish": "Bu kişi kim?",
    "Russian": "Кто этот человек?",
    "Chinese": "这个人是谁？",
    "Japanese": "この人は誰ですか？",
    "Korean": "이 사람은 누구입니까?",
    "Arabic": "من هو هذا الشخص؟",
    "Hindi": "यह व्यक्ति कौन है?",
}


def identity_question(questions: Iterable[str]) -> str:
    """The question in the language that half of the different ``questions`` or more show; English where none
    is.
    """
    return BY_LANGUAGE[refusal_language(questions).name]
