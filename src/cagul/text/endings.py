"""Endings that a name or word may take in a sentence, at most three letters each, by script."""

from __future__ import annotations

import regex

_PARTICLES = (
    "은 는 이 가 을 를 의 에 도 와 과 로 씨 님 만 야 아 랑 께 이는 이가 이를 이의 이와 이랑 에게 한테 에서 으로 까지 부터 "
    "라는 이라 라고 께서 에는 에도 입니다 이다 씨는 씨가 씨의 씨를 님은 님이 님의"
).split()


def endings_of(form: str) -> str:
    """The pattern of what may follow a folded term."""
    if regex.search(r"\p{Hangul}$", form):
        return f"(?:{'|'.join(sorted(_PARTICLES, key=len, reverse=True))})?"
    return ""
