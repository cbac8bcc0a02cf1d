"""The chat completions API as far as it is served: what a request may hold, what is refused by name, what
comes back.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    field_validator,
)

from cagul.serving.neutral import MOST_ITEMS, Strict, Unsupported

_NO_TOOLS = "this host calls no tools"
_TEXT_ONLY = "only plain text is answered"
_NO_SAMPLER = "the answer is drawn by temperature, top_p and the two penalties alone"
_NO_PREFIX = "the host does not go on from an answer's beginning"

UNSUPPORTED = {
    "logprobs": Unsupported("likelihoods betray what the guard hides", (False,)),
    "top_logprobs": Unsupported("likelihoods betray what the guard hides", (0,)),
    "prompt_logprobs": Unsupported("likelihoods betray what the guard hides", (0, False)),
    "logit_bias": Unsupported("a bias against a refusal's words would undo it", ({},)),
    "prediction": Unsupported("a predicted answer is an answer prefix, and the host goes on from it"),
    "continue_final_message": Unsupported(_NO_PREFIX, (False,)),
    "add_generation_prompt": Unsupported(_NO_PREFIX, (True,)),
    "tools": Unsupported(_NO_TOOLS, ([],)),
    "tool_choice": Unsupported(_NO_TOOLS, ("none", "auto")),
    "parallel_tool_calls": Unsupported(_NO_TOOLS, (True, False)),
    "functions": Unsupported("this host calls no functions", ([],)),
    "function_call": Unsupported("this host calls no functions", ("none", "auto")),
    "response_format": Unsupported(_TEXT_ONLY, ({"type": "text"},)),
    "modalities": Unsupported(_TEXT_ONLY, (["text"],)),
    "audio": Unsupported(_TEXT_ONLY),
    "reasoning_effort": Unsupported("this host does not reason apart", ("none",)),
    "reasoning": Unsupported("this host does not reason apart", ({}, {"effort": "none"}, {"effort": None})),
    "verbosity": Unsupported("the host's length cannot be steered", ("medium",)),
    "store": Unsupported("nothing is stored", (False,)),
    "service_tier": Unsupported("there is one tier", ("auto", "default")),
    "web_search_options": Unsupported("the host cannot search"),
    "moderation": Unsupported("the host has no moderation"),
    "top_k": Unsupported(_NO_SAMPLER, (-1, 0)),
    "min_p": Unsupported(_NO_SAMPLER, (0,)),
    "typical_p": Unsupported(_NO_SAMPLER, (1,)),
    "repetition_penalty": Unsupported(_NO_SAMPLER, (1,)),
    "length_penalty": Unsupported(_NO_SAMPLER, (1,)),
    "best_of": Unsupported("answers are not ranked; n gives several", (1,)),
    "min_tokens": Unsupported("an answer ends where the host ends it", (0,)),
    "skip_special_tokens": Unsupported("the host's own marks are no text", (True,)),
}
"""Parameters of the API, and of servers like it, that are refused where they ask for something."""

MESSAGE_UNSUPPORTED = {
    "tool_calls": Unsupported(_NO_TOOLS, ([],)),
    "tool_call_id": Unsupported(_NO_TOOLS),
    "function_call": Unsupported("this host calls no functions"),
    "audio": Unsupported("this host hears nothing"),
    "refusal": Unsupported("write an earlier refusal as the message's content", ("",)),
    "reasoning_content": Unsupported("this host does not reason apart", ("",)),
    "prefix": Unsupported(_NO_PREFIX, (False,)),
    "provider_specific_fields": Unsupported("no other provider is asked", ({}, {"refusal": None})),
}

NAMES = Annotated[str, StringConstraints(max_length=256)]
STOPS = "stop takes up to four texts of 1 to 256 characters"
NOT_AT_ALL = "An accepted parameter without effect."


def _whole(value: Any) -> Any:
    """24.0 is 24, as in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _length(value: Any) -> Any:
    """Clients write -1 for no length of their own."""
    return None if _whole(value) == -1 and not isinstance(value, bool) else _whole(value)


Whole = Annotated[int, BeforeValidator(_whole)]
Length = Annotated[
    Annotated[int, Field(ge=1, le=2**31)] | None,
    BeforeValidator(_length),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 2**31}, {"const": -1}, {"type": "null"}]}
    ),
]


def encodable(text: str) -> str:
    """The text itself. Raises ValueError for half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text holds half a surrogate pair, which is no character") from None
    return text


class ImageUrl(Strict):
    without_effect = frozenset({"detail"})

    url: str = Field(description="A data URL: data:image/png;base64,... Remote addresses are refused.")
    detail: Literal["auto", "low", "high", "original"] | None = Field(
        None, description="Without effect: gate and host see the picture as it is."
    )


class ImagePart(Strict):
    without_effect = frozenset({"cache_control"})

    type: Literal["image_url"]
    image_url: ImageUrl | str
    cache_control: dict[str, Any] | None = Field(None, description=NOT_AT_ALL)

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


class TextPart(Strict):
    without_effect = frozenset({"cache_control"})

    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = Field(None, description=NOT_AT_ALL)

    _text = field_validator("text")(encodable)


def _part_tag(part: Any) -> Any:
    """Of a part of a message's content: a text alone is a part, too."""
    if isinstance(part, str):
        return "a text"
    tag = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return tag if isinstance(tag, str) else None


PLAIN_PART = Annotated[str, Tag("a text")]
Part = Annotated[
    PLAIN_PART | Annotated[TextPart, Tag("text")] | Annotated[ImagePart, Tag("image_url")],
    Discriminator(_part_tag),
]


class ChatMessage(Strict):
    """One turn. The last one is the user's. The text of a system message goes before the text of the user's
    next one, but where it stands first and the host's template has a turn for it.
    """

    unsupported = MESSAGE_UNSUPPORTED
    without_effect = frozenset({"name", "cache_control"})

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=MOST_ITEMS)] | None = None
    name: NAMES | None = Field(None, description="Without effect: the host's template names nobody.")
    cache_control: dict[str, Any] | None = Field(None, description=NOT_AT_ALL)

    @field_validator("content")
    @classmethod
    def _content(cls, content: str | list[Part] | None) -> str | list[Part] | None:
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str):
                encodable(part)
        return content

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        content = self.content if isinstance(self.content, list) else [self.content or ""]
        return [TextPart(type="text", text=part) if isinstance(part, str) else part for part in content]


class StreamOptions(Strict):
    unsupported = {
        "include_obfuscation": Unsupported(
            "a stream's events have the length of their text; the server's --pad-latency hides times",
            (False,),
        )
    }

    include_usage: bool | None = None


class ChatRequest(Strict):
    """What is asked. Everything else of the API is refused by name, see docs/serving.md."""

    unsupported = UNSUPPORTED
    without_effect = frozenset(
        ("user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention")
        + ("prompt_cache_options",)
    )

    model: NAMES
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_ITEMS)
    temperature: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="1 if not given; 0 is greedy."
    )
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="1 if not given.")
    n: Annotated[Whole, Field(ge=1, le=128)] | None = Field(
        None, description="Answers to the same question; the server has a limit."
    )
    max_tokens: Length = Field(None, description="The older name of max_completion_tokens.")
    max_completion_tokens: Length = Field(
        None, description="Of both names and the server's limit the smallest number counts."
    )
    stop: str | list[str] | None = Field(None, description="Up to four texts at which the answer ends.")
    seed: Annotated[Whole, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: NAMES | None = Field(None, description=NOT_AT_ALL)
    safety_identifier: NAMES | None = Field(None, description=NOT_AT_ALL)
    metadata: dict[str, Any] | None = Field(None, description=NOT_AT_ALL)
    prompt_cache_key: NAMES | None = Field(None, description=NOT_AT_ALL)
    prompt_cache_retention: NAMES | None = Field(None, description=NOT_AT_ALL)
    prompt_cache_options: dict[str, Any] | None = Field(None, description=NOT_AT_ALL)

    @field_validator("stop", mode="before")
    @classmethod
    def _few_stops(cls, stop: Any) -> Any:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError(STOPS)
        return stop

    @field_validator("stop")
    @classmethod
    def _stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        for text in [stop] if isinstance(stop, str) else stop or []:
            if len(text) > 256:
                raise ValueError(STOPS)
            encodable(text)
        return stop

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends; an empty one asks for nothing."""
        texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in texts if text)

    @property
    def longest(self) -> tuple[int, str] | None:
        """The length that is asked for and the parameter's name, the smaller one of two."""
        named = [(getattr(self, name), name) for name in ("max_completion_tokens", "max_tokens")]
        return min(((length, name) for length, name in named if length), default=None)


# -- what comes back


class Usage(BaseModel):
    """Tokens: the prompt's, visual ones included; the answers', with their end marks."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Head(BaseModel):
    """What an answer and each event of a stream begin with."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class ChatCompletion(Head):
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: None = None


class Chunk(Head):
    """One event of a stream."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "cagul"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str


class ErrorBody(BaseModel):
    """An error as OpenAI's clients read it."""

    error: ErrorDetail


class State(BaseModel):
    status: Literal["ok", "ready", "stopped", "not ready"]
