"""Is it an answer at all? Told apart from one that is merely not kept. Pure."""

from __future__ import annotations

import msgspec

from headgate.core.inspection_rules import UNREADABLE
from headgate.core.verdict import Verdict
from headgate.types import GENERATE, OPERATIONS

_decode = msgspec.json.Decoder().decode
_DOUBTFUL = frozenset({"not_parsed", "incomplete"})
_EVENTS_BEGIN = (b"data:", b"event:", b":")
_HAVE_CHOICES = frozenset({"chat", "completions"})


def is_no_answer(operation: str, verdict: Verdict, content: bytes, *, streamed: bool) -> bool:
    """Whether a body that came with status 200 is none of its dialect: no JSON object (a captive
    portal, half an answer), or a completion without a choice. A stream under another content type
    is one, where a stream was asked for.

    `verdict` is the judgement of the same body; most bodies are not read a second time.
    """
    if streamed and content.startswith(_EVENTS_BEGIN):
        return False
    if verdict.skip not in _DOUBTFUL or operation not in (*OPERATIONS, GENERATE):
        return False
    try:
        content.decode()
        answer = _decode(content)
    except UNREADABLE:
        return True
    if not isinstance(answer, dict):
        return True
    return operation in _HAVE_CHOICES and not _is_filled_list(answer.get("choices"))


def _is_filled_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)
