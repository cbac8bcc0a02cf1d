"""How cagul decodes: greedily, so that two evaluations of a host give the same figures.

Of a host's own generation settings those hold that say where an answer ends and which tokens it may use. All
others are overridden on purpose: sampling, beams, several answers, lengths and time limits, what ``generate``
returns, caches, assisted and contrastive decoding, watermarks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import GenerationConfig

from cagul.errors import HostError


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_tokens(value: Any) -> bool:
    return _is_token(value) or (isinstance(value, list) and all(map(_is_token, value)))


def _is_word(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_token, value))


def _is_texts(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) and text for text in texts)


HELD: dict[str, tuple[Callable[[Any], bool], str]] = {  # the setting, its check, and what it is to be
    "bos_token_id": (_is_token, "a token id"),
    "pad_token_id": (_is_token, "a token id"),
    "eos_token_id": (_is_tokens, "token ids"),
    "forced_bos_token_id": (_is_token, "a token id"),
    "forced_eos_token_id": (_is_tokens, "token ids"),
    "suppress_tokens": (_is_word, "a list of token ids"),
    "begin_suppress_tokens": (_is_word, "a list of token ids"),
    "bad_words_ids": (
        lambda value: isinstance(value, list) and all(map(_is_word, value)),
        "lists of token ids",
    ),
    "stop_strings": (_is_texts, "texts"),
    "repetition_penalty": (
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0,
        "a number above 0",
    ),
    "no_repeat_ngram_size": (_is_token, "a whole number"),
}


class GreedyConfig(GenerationConfig):
    """Settings to which ``generate`` adds nothing of the host's own.

    ``stops`` are the texts that end an answer. transformers' own stop strings need a tokenizer whose tokens
    can be put into words one by one, which not every host's can.
    """

    stops: tuple[str, ...] = ()

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **values: Any) -> Any:
        """As transformers does, but for the call that fills what is unset from the host's settings."""
        return {} if allow_custom_entries else super().update(defaults_only=defaults_only, **values)


def require_settings(settings: Mapping[str, Any]) -> None:
    """Raises HostError (generation-config) for a setting that holds and has a value that cannot be one."""
    for name, (check, kind) in HELD.items():
        value = settings.get(name)
        if not _is_unset(value) and not check(value):
            raise HostError(
                f"The host's generation config has {name} = {value!r}, which is not {kind}.",
                "Correct it in generation_config.json, or remove it there.",
                "generation-config",
            )
    forced = _listed(settings.get("forced_eos_token_id"))
    if forced and set(forced) <= set(settings.get("suppress_tokens") or ()):
        raise HostError(
            f"The host's generation config forces the tokens {forced} and suppresses them: suppress_tokens.",
            "Remove one of the two from generation_config.json.",
            "generation-config",
        )


def held_settings(settings: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """The host's own settings that hold. Padding and the end of an answer are the tokenizer's where the
    settings name none.
    """
    held = {name: value for name in HELD if not _is_unset(value := settings.get(name))}
    for name in ("eos_token_id", "pad_token_id"):
        if name not in held and getattr(tokenizer, name) is not None:
            held[name] = getattr(tokenizer, name)
    return held


def overridden_settings(settings: GenerationConfig) -> dict[str, Any]:
    """The host's own settings that do not hold: those that differ from transformers' defaults and from what
    greedy decoding sets.
    """
    greedy = vars(greedy_config({}, 1))
    own = {name: value for name, value in settings.to_diff_dict().items() if not name.startswith("_")}
    return {
        name: value
        for name, value in own.items()
        if name not in HELD
        and name != "transformers_version"
        and value != greedy.get(name)
        and not (value is False and greedy.get(name) is None)  # off is off
    }


def _is_unset(value: Any) -> bool:
    return value is None or value == []


def end_tokens(held: dict[str, Any]) -> frozenset[int]:
    """The tokens that end an answer."""
    return frozenset(_listed(held.get("eos_token_id")))


def stop_strings(held: dict[str, Any]) -> tuple[str, ...]:
    """The texts that end an answer; they are not part of it."""
    return tuple(_listed(held.get("stop_strings")))


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def before_stop(text: str, stops: tuple[str, ...]) -> str:
    """The text before the first stop string."""
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)].rstrip() if places else text


def greedy_config(held: dict[str, Any], max_new_tokens: int) -> GreedyConfig:
    """Greedy decoding of up to ``max_new_tokens`` tokens."""
    settings = GreedyConfig(
        **{name: value for name, value in held.items() if name != "stop_strings"},
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        return_dict_in_generate=False,
    )
    settings.stops = stop_strings(held)
    return settings
