"""The inputs of an embeddings request: which there are, and the key of each. Pure.

A text and a list with that text are one input, and so are a list of tokens and a list with that
list. What is neither is nobody's to take apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.canonical import canonical
from headgate.core.estimate import BYTES_PER_TOKEN

EMBEDDINGS = "embeddings"
INPUT = "input"
INPUTS_MAX = 2_048
"""More are not taken apart: OpenAI takes no more in one request, and each has a task of its own."""
TOKENS_LONG = 8_192
"""An input that may be longer than a model takes goes without company: it would be refused."""

Input = str | list[int]
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Inputs(Struct, frozen=True):
    """What admission knows of the inputs of a call."""

    count: int
    """How many there are, >= 1."""
    prefix: bytes
    """What precedes the body in the key of each."""
    company: bytes
    """Calls that differ in this never go upstream together; the body says the rest."""


class Asked(Struct, frozen=True):
    """A request taken apart."""

    inputs: list[Input]
    rest: dict[str, Any]
    """Everything but the input."""

    @property
    def is_text(self) -> bool:
        """Of a list of texts; else lists of tokens: no request has both."""
        return isinstance(self.inputs[0], str)


def inputs_in(fields: Mapping[str, Any]) -> list[Input]:
    """The inputs, in their order; none where they are of a kind that is not taken apart."""
    given = fields.get(INPUT)
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not 0 < len(given) <= INPUTS_MAX:
        return []
    if all(type(item) is str for item in given):
        return given
    if _are_tokens(given):
        return [given]
    return given if all(isinstance(item, list) and _are_tokens(item) for item in given) else []


def _are_tokens(items: Sequence[Any]) -> bool:
    return bool(items) and all(type(item) is int for item in items)


def normal(fields: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many inputs there are (0: not to be taken apart), and the fields in the spelling that
    keys are made of: an input alone is in no list."""
    inputs = inputs_in(fields)
    return len(inputs), dict(fields) if len(inputs) != 1 else {**fields, INPUT: inputs[0]}


def asked_in(body: bytes) -> Asked:
    """As the body of a call says it that admission has looked at."""
    fields = _decode(body)
    inputs = inputs_in(fields)
    del fields[INPUT]
    return Asked(inputs, fields)


def keys_of(
    asked: Asked, model: str, prefix: bytes, ignored: Collection[str]
) -> list[tuple[bytes, bytes]]:
    """The key of each input, and the input as it is written in JSON. A key is the one that a call
    with this input alone has; `model` is as requested, as there."""
    kept = {name: value for name, value in asked.rest.items() if name not in ignored}
    kept["model"] = model
    before = canonical({name: value for name, value in kept.items() if name < INPUT})[:-1]
    after = canonical({name: value for name, value in kept.items() if name > INPUT})[1:]
    before += b'"input":' if len(before) == 1 else b',"input":'
    after = after if len(after) == 1 else b"," + after
    found = []
    for item in asked.inputs:
        written = canonical(item)
        body = before + written + after
        found.append((sha256(prefix + len(body).to_bytes(8, "big") + body).digest(), written))
    return found


def tokens_of(item: Input) -> int:
    """Exact for a list of tokens, a guess for a text; >= 1."""
    if isinstance(item, str):
        return max(1, len(item.encode()) // BYTES_PER_TOKEN)
    return max(1, len(item))


def has_company(item: Input) -> bool:
    """Whether it may go upstream with others': a model refuses what is empty, or too long."""
    return bool(item) and tokens_of(item) < TOKENS_LONG


def joint_body(body: bytes, written: Sequence[bytes]) -> bytes:
    """`body`, its fields in their order, with these inputs in a list instead of its own."""
    fields: dict[str, Any] = _decode_raw(body)
    fields[INPUT] = msgspec.Raw(b"[" + b",".join(written) + b"]")
    return msgspec.json.encode(fields)


_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
