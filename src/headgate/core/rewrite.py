"""The two changes a body may need on its way to a provider; every other byte stays. Pure."""

from __future__ import annotations

import re
from itertools import islice

import msgspec
from msgspec import Struct

_LOOKS = 3


class _Named(Struct):
    model: str


_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
_decode_name = msgspec.json.Decoder(_Named).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_options = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_ASKS = b'"stream_options":{"include_usage":true}'


def renamed(body: bytes, model: str) -> bytes:
    """The body with another model name and every other byte unchanged.

    Where the name is not found by looking (its key is escaped, or many fields of inner objects
    have the same one), every field keeps its bytes and its place, and white space around it goes.
    """
    name = msgspec.json.encode(model)
    for match in islice(_MODEL.finditer(body), _LOOKS):
        candidate = body[: match.start(1)] + name + body[match.end(1) :]
        if _decode_name(candidate).model == model:
            return candidate
    fields = _decode_raw(body)
    fields["model"] = msgspec.Raw(name)
    return msgspec.json.encode(fields)


def with_stream_usage(body: bytes) -> bytes:
    """The body of a streamed call that asks for usage, whatever it said of it before.

    `body` is a JSON object of at least one field. One whose `stream_options` are no object stays as
    it is: the provider refuses it.
    """
    if b"stream_options" not in body and b"\\u" not in body:
        start = body.index(b"{") + 1
        return body[:start] + _ASKS + b"," + body[start:]
    fields = _decode_raw(body)
    try:
        options = _decode_options(fields.get("stream_options", b"null")) or {}
    except msgspec.ValidationError:
        return body
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)
