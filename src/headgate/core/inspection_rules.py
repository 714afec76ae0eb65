"""What the inspections of all dialects share: kinds of events, the store gate, decoding. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from headgate.core.verdict import Verdict, arguments_parse, skip_of
from headgate.errors import UpstreamGarbled
from headgate.types import Usage

PLAIN, USAGE, END, ERROR = "plain", "usage", "end", "error"
"""Kinds of events. `USAGE`: only the usage that a client gets if it asked for
`stream_options.include_usage`. `END`: the upstream's terminal marker."""

DONE = b"[DONE]"
"""The terminal marker of chat and completions; not JSON."""

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding raises for bytes that are not the JSON that was asked for."""

_Event = TypeVar("_Event")


class Inspection(Protocol):
    """What is known of one stream so far."""

    usage: Usage
    tier: str
    """The tier that the upstream says it serves this in; "" while it has said none."""
    is_finished: bool
    """The upstream's own terminal marker was seen; nothing after it counts."""
    has_failed: bool
    """The upstream said in the stream that it failed."""

    def read(self, name: bytes, content: bytes) -> str:
        """The kind of the event with this name and data. Events of unknown type and events without
        data (comments, pings) are plain.

        Raises UpstreamGarbled for data that is not JSON, or not of the type the dialect has.
        """
        ...

    def verdict(self, *, limit_explicit: bool, choices: int) -> Verdict:
        """The verdict on the stream as it is now. `limit_explicit`: the request set its own output
        limit. `choices`: how many the request asked for, where the dialect has them."""
        ...


def early(inspection: Inspection) -> str:
    """Why a stream is not stored whatever it said; "" if that decides."""
    if inspection.has_failed:
        return "error_in_answer"
    return "" if inspection.is_finished else "no_terminal"


def why_skipped(
    finishes: Collection[str | None], arguments: Iterable[list[Any]], limit_explicit: bool
) -> str:
    """The store gate over how each choice ended and the pieces of each tool call's arguments."""
    skip = skip_of(finishes, limit_explicit)
    if skip:
        return skip
    return "" if all(map(_parses, arguments)) else "tool_arguments"


def _parses(pieces: list[Any]) -> bool:
    is_text = all(isinstance(piece, str) for piece in pieces)
    return is_text and arguments_parse(["".join(pieces)])


def decoded(decode: Callable[[bytes], _Event], content: bytes) -> _Event:
    """The event. Raises UpstreamGarbled."""
    try:
        return decode(content)
    except UNREADABLE:
        raise garbled() from None


class _Type(Struct):
    type: str = ""


_decode_type = msgspec.json.Decoder(_Type).decode


def decoded_event(
    decode: Callable[[bytes], _Event], content: bytes, known: Collection[str]
) -> _Event | None:
    """The event, or None for one of an unknown type that does not fit the known ones, and for the
    `[DONE]` that some servers send in every dialect. Raises UpstreamGarbled."""
    try:
        return decode(content)
    except UNREADABLE:
        if content.strip() == DONE:
            return None
        event = decoded(_decode_type, content)
        if event.type in known or not event.type:
            raise garbled() from None
        return None


def named(name: bytes, kind: str) -> None:
    """Raises UpstreamGarbled for an event that has one name and another type: clients go by the
    name, and pass over one that they do not know."""
    if name and kind and name != kind.encode():
        raise garbled()


def garbled() -> UpstreamGarbled:
    """The error of an event that cannot be read; it does not repeat what the upstream sent."""
    return UpstreamGarbled("the stream has an event that is not of its dialect")
