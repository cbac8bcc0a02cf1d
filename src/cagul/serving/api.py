"""The chat completions API as far as it is served: what a request may hold, what is refused by name, what
comes back.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

REFUSED = {
    "logprobs": "likelihoods betray what the guard hides",
    "top_logprobs": "likelihoods betray what the guard hides",
    "logit_bias": "a bias against a refusal's words would undo it",
    "prediction": "a predicted answer is an answer prefix, and the host goes on from it",
    "tools": "this host calls no tools",
    "tool_choice": "this host calls no tools",
    "parallel_tool_calls": "this host calls no tools",
    "functions": "this host calls no functions",
    "function_call": "this host calls no functions",
    "response_format": "only plain text is answered",
    "modalities": "only plain text is answered",
    "audio": "only plain text is answered",
    "reasoning_effort": "this host does not reason apart",
    "verbosity": "the host's length cannot be steered",
    "store": "nothing is stored",
    "metadata": "nothing is stored",
    "service_tier": "there is one tier",
    "web_search_options": "the host cannot search",
}
"""Parameters of the API that are refused by name, each with its reason. A null is no use of one."""

NAMES = Annotated[str, StringConstraints(max_length=256)]
# turns of a request, parts of a turn, names of an object: a million wrong ones would be told one by one
MOST = 256
STOPS = "stop takes up to four texts of 1 to 256 characters"


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text holds half a surrogate pair, which is no character") from None
    return text


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MOST:
            raise ValueError(f"an object has {len(given)} names, more than {MOST}")
        return given


class ImageUrl(Strict):
    url: str = Field(description="A data URL: data:image/png;base64,... Remote addresses are refused.")
    detail: Literal["auto"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(Strict):
    type: Literal["text"]
    text: str

    _text = field_validator("text")(_encodable)


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Strict):
    """One turn. The last one is the user's; a system message stands first, and only where the host's template
    knows it.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(max_length=MOST)]
    refusal: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    @field_validator("content")
    @classmethod
    def _content(cls, content: str | list[Part]) -> str | list[Part]:
        return _encodable(content) if isinstance(content, str) else content

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        return (
            [TextPart(type="text", text=self.content)]
            if isinstance(self.content, str)
            else list(self.content)
        )


class StreamOptions(Strict):
    include_usage: bool = False


class ChatRequest(Strict):
    """What is asked. Everything else of the API is refused by name, see docs/serving.md."""

    model: NAMES
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST)
    temperature: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="1 if not given; 0 is greedy."
    )
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="1 if not given.")
    n: int | None = Field(
        None, ge=1, le=128, description="Answers to the same question; the server has a limit."
    )
    max_tokens: int | None = Field(
        None, ge=1, le=2**31, description="The older name of max_completion_tokens."
    )
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    stop: str | list[str] | None = Field(None, description="Up to four texts at which the answer ends.")
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    presence_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(None, ge=-2, le=2, allow_inf_nan=False)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: NAMES | None = Field(None, description="Accepted and forgotten.")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name, reason in REFUSED.items():
            if given.get(name) is not None:
                raise ValueError(f"{name} is not supported: {reason}")
        return {name: value for name, value in given.items() if name not in REFUSED}

    @field_validator("stop", mode="before")
    @classmethod
    def _few_stops(cls, stop: Any) -> Any:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError(STOPS)
        return stop

    @field_validator("stop")
    @classmethod
    def _stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        texts = [stop] if isinstance(stop, str) else stop or []
        if any(not text or len(text) > 256 for text in texts):
            raise ValueError(STOPS)
        for text in texts:
            _encodable(text)
        return stop

    @model_validator(mode="after")
    def _agree(self) -> ChatRequest:
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        if self.stream_options and not self.stream:
            raise ValueError("stream_options needs stream")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


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
