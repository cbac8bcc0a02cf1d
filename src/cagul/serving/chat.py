"""Answers of the chat completions API, whole or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cagul.serving.answering import Answer, begin, failure
from cagul.serving.api import (
    AssistantMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Usage,
)
from cagul.serving.engine import Done, Failed, Piece
from cagul.serving.refused import error_body
from cagul.serving.served_model import ServedModel


async def complete(served: ServedModel, chat: ChatRequest, request: Request) -> Response:
    """The response to a chat completion. Raises Refused."""
    answer = await begin(served, chat, request, chat.ignored)
    if answer is None:
        return Response(status_code=499)  # nobody is there to read it
    head = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": served.options.name,
        "system_fingerprint": served.fingerprint,
    }
    if isinstance(answer.first, Done) and not answer.job.streaming:
        return JSONResponse(_completion(answer, answer.first, head), headers=answer.headers)
    usage = bool(chat.stream_options and chat.stream_options.include_usage)
    return StreamingResponse(
        _events(answer, head, usage), media_type="text/event-stream", headers=answer.headers
    )


def _completion(answer: Answer, done: Done, head: dict[str, Any]) -> dict[str, Any]:
    choices = [
        Choice(index=n, message=AssistantMessage(content=text), finish_reason=_reason(finish))
        for n, (text, finish, _) in enumerate(done.choices)
    ]
    return ChatCompletion(choices=choices, usage=answer.usage(done), **head).model_dump()


def _reason(finish: str) -> Literal["stop", "length"]:
    return "length" if finish == "length" else "stop"


async def _events(answer: Answer, head: dict[str, Any], include_usage: bool) -> AsyncIterator[str]:
    """Server-sent events. A guard that fails midway ends the stream with an error, without [DONE]."""

    def chunk(*choices: ChunkChoice, usage: Usage | None = None) -> str:
        return f"data: {Chunk(choices=list(choices), usage=usage, **head).model_dump_json()}\n\n"

    for index in range(len(answer.job.choices)):
        yield chunk(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))
    async for event in answer.all_events():
        if isinstance(event, Piece):
            yield chunk(ChunkChoice(index=event.index, delta=Delta(content=event.text)))
        elif isinstance(event, Failed):
            refused = failure(event)
            answer.notes["code"] = refused.code
            yield f"data: {json.dumps(error_body(refused))}\n\n"
        else:
            usage = answer.usage(event)
            for index, (_, finish, _) in enumerate(event.choices):
                yield chunk(ChunkChoice(index=index, delta=Delta(), finish_reason=_reason(finish)))
            if include_usage:
                yield chunk(usage=usage)
            yield "data: [DONE]\n\n"
