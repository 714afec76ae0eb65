"""The fake's OpenAI dialect: chat, completions, embeddings, models and errors, whole and streamed,
field for field as the official SDK's types ask for them. Pure; `/responses` has its own file.
"""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import shake_256
from typing import Any

import msgspec

from headgate.errors import BadRequest
from headgate.providers.fake_words import (
    CREATED_S,
    Draft,
    Saying,
    Tool,
    Wish,
    last_question,
    model_of,
    number_in,
    pieces_of,
    texts_in,
    tokens_in,
    tokens_of_tools,
)

MODELS = ("fake-large", "fake-small", "fake-embedding")
CHOICES_MAX = 128
INPUTS_MAX = 2048
DIMENSIONS_MAX = 3072
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DIMENSIONS_USUAL = 1536
_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool": "tool_calls"}


def sse_line(event: Any) -> bytes:
    """One server-sent event without a name, as chat and completions stream them."""
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def error(status: int, message: str) -> dict[str, Any]:
    """The body of a failed call."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def models() -> dict[str, Any]:
    """The answer to `GET /models`."""
    listed = [
        {"id": name, "object": "model", "created": CREATED_S, "owned_by": "headgate"}
        for name in MODELS
    ]
    return {"object": "list", "data": listed}


def read_chat(fields: Mapping[str, Any]) -> Wish:
    """What a chat request asks for. Raises BadRequest."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list of at least one message")
    tools = fields.get("tools")
    return Wish(
        fields,
        last_question(messages),
        tokens_in(messages) + tokens_of_tools(tools),
        number_in(fields, "n", high=CHOICES_MAX) or 1,
        number_in(fields, "max_completion_tokens", "max_tokens"),
        tuple(texts_in(fields.get("stop"))),
        forced_tool(fields.get("tool_choice"), tools),
        _wanted_schema(fields.get("response_format")),
    )


def forced_tool(choice: Any, tools: Any) -> Tool | None:
    """The function that `tool_choice` forces: `required`, one by name, or allowed tools that are
    required. Chat nests a function under `function`, Responses does not; both are read. Custom
    and hosted tools are not called: None.

    Raises BadRequest where it names none of `tools`.
    """
    functions = _functions(tools)
    name = next(iter(functions), None)
    if tools and not functions:
        return None
    if isinstance(choice, Mapping):
        allowed = choice.get("allowed_tools", choice)
        if choice.get("type") == "allowed_tools" and isinstance(allowed, Mapping):
            kept = [functions[n] for n in _functions(allowed.get("tools")) if n in functions]
            return forced_tool(allowed.get("mode"), kept)
        if choice.get("type", "function") != "function":
            return None
        name = _function(choice).get("name")
    elif choice != "required":
        return None
    if not isinstance(name, str) or name not in functions:
        raise BadRequest("tool_choice names no function among the tools")
    return Tool(name, functions[name].get("parameters"))


def _functions(tools: Any) -> dict[str, Mapping[str, Any]]:
    """The function definitions among `tools`, by name, in order."""
    listed = [_function(tool) for tool in tools] if isinstance(tools, list) else []
    return {str(function["name"]): function for function in listed if "name" in function}


def _function(tool: Any) -> Mapping[str, Any]:
    """The part of a tool, or of a choice of one, that names a function; empty if none does."""
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        return {}
    nested = tool.get("function", tool)
    return nested if isinstance(nested, Mapping) else {}


def _wanted_schema(wanted: Any) -> Any:
    if not isinstance(wanted, Mapping) or wanted.get("type") not in ("json_schema", "json_object"):
        return None
    nested = wanted.get("json_schema")
    schema = nested.get("schema") if isinstance(nested, Mapping) else None
    return schema or {"type": "object", "properties": {"answer": {"type": "string"}}}


def read_completion(fields: Mapping[str, Any]) -> Wish:
    """What a legacy completion asks for; several prompts become several choices."""
    prompt = fields.get("prompt")
    prompts: list[str | list[int]] = [""]
    if prompt is not None and prompt != "":
        prompts = inputs_of(prompt, "prompt")
    question = " ".join(text for text in prompts if isinstance(text, str))
    choices = (number_in(fields, "n", high=CHOICES_MAX) or 1) * len(prompts)
    if choices > CHOICES_MAX:
        raise BadRequest(f"n times the number of prompts must be at most {CHOICES_MAX}")
    limit = number_in(fields, "max_tokens")
    stops = tuple(texts_in(fields.get("stop")))
    return Wish(fields, question, _tokens_of_inputs(prompts), choices, limit, stops)


def inputs_of(value: Any, name: str) -> list[str | list[int]]:
    """A string, a list of strings, a token array or a list of token arrays, as a list of inputs.

    Raises BadRequest for anything else, an empty list, or more than 2048 inputs.
    """
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value and len(value) <= INPUTS_MAX:
        if all(isinstance(token, int) for token in value):
            return [value]
        if all(isinstance(item, str) or _is_tokens(item) for item in value):
            return value
    raise BadRequest(
        f"'{name}' must be a string, a list of at most {INPUTS_MAX} strings, or token arrays"
    )


def _is_tokens(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(t, int) for t in item)


def _tokens_of_inputs(inputs: list[str | list[int]]) -> int:
    return sum(len(item) if isinstance(item, list) else tokens_in(item) for item in inputs)


def chat(draft: Draft) -> dict[str, Any]:
    """A `chat.completion`."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", **_content(draft, index), "refusal": None,
                        "annotations": []},
            "logprobs": None,
            "finish_reason": _FINISH[saying.ending],
        }
        for index, saying in enumerate(draft.sayings)
    ]  # fmt: skip
    return _frame(draft, "chat.completion") | {"choices": choices, "usage": usage(draft)}


def _content(draft: Draft, index: int) -> dict[str, Any]:
    saying = draft.sayings[index]
    if saying.ending == "tool":
        return {"content": None, "tool_calls": [_tool_call(draft, index, saying.text)]}
    return {"content": saying.text}


def _tool_call(draft: Draft, index: int, arguments: str) -> dict[str, Any]:
    function = {"name": draft.sayings[index].tool, "arguments": arguments}
    return {"id": "call_" + draft.mint(f"call{index}"), "type": "function", "function": function}


def chat_events(draft: Draft, *, include_usage: bool) -> Iterator[bytes]:
    """A stream of `chat.completion.chunk`; with `include_usage` one more chunk holds the usage and
    all others `"usage": null`, as OpenAI does."""
    frame = _frame(draft, "chat.completion.chunk")
    tail = {"usage": None} if include_usage else {}
    for index, saying in enumerate(draft.sayings):
        for delta in _deltas(draft, index, saying):
            yield sse_line(frame | {"choices": [_chunk_choice(index, delta, None)]} | tail)
        ended = _chunk_choice(index, {}, _FINISH[saying.ending])
        yield sse_line(frame | {"choices": [ended]} | tail)
    if include_usage:
        yield sse_line(frame | {"choices": [], "usage": usage(draft)})
    yield DONE


def _chunk_choice(index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _deltas(draft: Draft, index: int, saying: Saying) -> Iterator[dict[str, Any]]:
    if saying.ending != "tool":
        yield {"role": "assistant", "content": "", "refusal": None}
        for piece in pieces_of(saying.text):
            yield {"content": piece}
        return
    opened = {"index": 0, **_tool_call(draft, index, "")}
    yield {"role": "assistant", "content": None, "tool_calls": [opened], "refusal": None}
    for piece in pieces_of(saying.text):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def completion(draft: Draft) -> dict[str, Any]:
    """A `text_completion`."""
    choices = [
        _text_choice(index, saying.text, _FINISH[saying.ending])
        for index, saying in enumerate(draft.sayings)
    ]
    return _frame(draft, "text_completion") | {"choices": choices, "usage": usage(draft)}


def completion_events(draft: Draft, *, include_usage: bool) -> Iterator[bytes]:
    """A stream of `text_completion`; usage as in `chat_events`."""
    frame = _frame(draft, "text_completion")
    tail = {"usage": None} if include_usage else {}
    for index, saying in enumerate(draft.sayings):
        pieces = pieces_of(saying.text)
        ends = [None] * (len(pieces) - 1) + [_FINISH[saying.ending]]
        for piece, finish in zip(pieces, ends, strict=True):
            yield sse_line(frame | {"choices": [_text_choice(index, piece, finish)]} | tail)
    if include_usage:
        yield sse_line(frame | {"choices": [], "usage": usage(draft)})
    yield DONE


def _text_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _frame(draft: Draft, kind: str) -> dict[str, Any]:
    prefix = "cmpl-" if kind == "text_completion" else "chatcmpl-"
    frame = {"id": prefix + draft.mint("id"), "object": kind, "created": CREATED_S}
    frame |= {"model": draft.model, "system_fingerprint": "fp_fake"}
    return frame if kind == "text_completion" else frame | {"service_tier": "default"}


def usage(draft: Draft) -> dict[str, Any]:
    """Tokens of a chat or a completion; nothing of a fake answer is ever cached or reasoned."""
    return {
        "prompt_tokens": draft.tokens_in,
        "completion_tokens": draft.tokens_out,
        "total_tokens": draft.tokens_in + draft.tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def embeddings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A list of unit vectors. Each depends on model, dimensions and its own input alone, so an
    input has the same vector in every batch; `base64` and `float` hold the same numbers."""
    model = model_of(fields)
    inputs = inputs_of(fields.get("input"), "input")
    wanted = number_in(fields, "dimensions", high=DIMENSIONS_MAX)
    dimensions = wanted or _DIMENSIONS.get(model, _DIMENSIONS_USUAL)
    encoding = fields.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise BadRequest("encoding_format must be float or base64")
    listed = []
    for index, item in enumerate(inputs):
        packed = _vector(model, item, dimensions)
        vector = b64encode(packed).decode() if encoding == "base64" else _floats(packed)
        listed.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = _tokens_of_inputs(inputs)
    totals = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": listed, "model": model, "usage": totals}


def _vector(model: str, item: str | list[int], dimensions: int) -> bytes:
    """Little-endian 32-bit floats of norm 1. Only a name for the input: no meaning is in it."""
    seed = msgspec.json.encode([model, item])
    raw = shake_256(seed).digest(dimensions)
    centred = [byte - 127.5 for byte in raw]
    norm = math.sqrt(sum(number * number for number in centred))
    return struct.pack(f"<{dimensions}f", *(number / norm for number in centred))


def _floats(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
