"""How many tokens a call may take, guessed before it is made: what a reservation asks for. Pure.

A guess that is too low lets too much pass at once, one that is too high too little; either is put
right when the provider has counted.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from msgspec import Struct

BYTES_PER_TOKEN = 4
"""Of English text, roughly."""
OUTPUT_TOKENS = 500
"""Of an answer whose length the request does not bound."""
OUTPUT_TOKENS_MAX = 32_768
"""A bound above it is a formality: answers are seldom so long."""
FREE_OPERATIONS = frozenset({"count_tokens"})
"""What providers do for nothing: it takes no tokens, and nothing is billed."""
MEDIA_TOKENS = 1_000
"""Of a picture or another file inside the body."""
_CHOICES_MAX = 128

# A run of base64 is a file: its tokens do not follow its length.
_MEDIA = re.compile(rb"[A-Za-z0-9+/_-]{4096,}")


# Where dialects put what the model says: text, thoughts, and the arguments of calls.
_SAID = re.compile(
    rb'"(?:content|text|delta|partial_json|arguments|thinking|reasoning_content)":'
    rb' ?"((?:[^"\\]|\\.)*)"'
)
_LOOKED_AT_BYTES = 262_144


class _Bounds(Struct):
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None


_decode = msgspec.json.Decoder(_Bounds).decode


def estimated_tokens(body: bytes) -> int:
    """Tokens in and out of the call with this JSON body; for any bytes, >= 1."""
    return max(1, _tokens_in(body) + _tokens_out(body))


def estimated_input(body: bytes) -> int:
    """Tokens in alone, >= 1."""
    return max(1, _tokens_in(body))


def estimated_output(content: bytes, total_bytes: int) -> int:
    """Tokens of an answer, or of as much of a stream as has come: `total_bytes`, of which
    `content` is the beginning. Any bytes; 0 where nothing was said."""
    looked_at = content[:_LOOKED_AT_BYTES]
    if not looked_at or not total_bytes:
        return 0
    said = sum(len(text) for text in _SAID.findall(looked_at))
    return math.ceil(said * total_bytes / len(looked_at) / BYTES_PER_TOKEN)


def _tokens_in(body: bytes) -> int:
    media = [len(run) for run in _MEDIA.findall(body)]
    text_bytes = len(body) - sum(media)
    return text_bytes // BYTES_PER_TOKEN + len(media) * MEDIA_TOKENS


def _tokens_out(body: bytes) -> int:
    try:
        bounds = _decode(body)
    except msgspec.DecodeError:
        return OUTPUT_TOKENS
    named = (bounds.max_completion_tokens, bounds.max_output_tokens, bounds.max_tokens)
    tokens = next((count for count in named if _is_count(count)), OUTPUT_TOKENS)
    choices = min(bounds.n, _CHOICES_MAX) if _is_count(bounds.n) else 1
    return min(tokens, OUTPUT_TOKENS_MAX) * choices


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
