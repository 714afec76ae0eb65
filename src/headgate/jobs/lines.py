"""Reads a file of requests and says what is wrong with it, before any of it is accepted.

One pass, one line in memory at a time; what stays are digests, names and places. A file is taken
whole or not at all: with a problem in one line there are no lines.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from msgspec import Struct

from headgate.core.canonical import canonical, parse_object
from headgate.core.eligibility import bypass_reason, may_hold_media
from headgate.core.estimate import estimated_input, estimated_tokens
from headgate.errors import BadRequest
from headgate.jobs.model import CUSTOM_ID_CHARS_MAX, Line, LineProblem
from headgate.jobs.settings import JobsConfig
from headgate.types import Policy

PROBLEMS_MAX = 100
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
}
"""What the lines of a job may ask for, by their `url`."""
_MODEL_CHARS_MAX = 256
_SHOWN_CHARS = 80
_SKIP_BYTES = 65_536
_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")


class Refusal(NamedTuple):
    """Why a model may not be asked for."""

    code: str
    message: str


Judge = Callable[[str, str], Policy | Refusal]
"""Says of a model and an endpoint what the cache may keep of it, or why it may not be asked for.
Called once for each model. Equal lines are asked once where the cache may keep their answer."""


class Load(Struct):
    """What is to be asked of one model: lines that are equal to an earlier one are left out."""

    lines: int = 0
    tokens_in: int = 0
    """By estimate, as the next."""
    tokens_out: int = 0
    size_bytes: int = 0


class Checked(Struct):
    """What was read."""

    endpoint: str = ""
    """What all lines ask for; "" where no line says it."""
    lines: list[Line] = []
    """In their order; none where there is a problem."""
    problems: list[LineProblem] = []
    """The first 100, one for each line."""
    problem_count: int = 0
    loads: dict[str, Load] = {}
    """By model."""
    followers: int = 0
    """Lines that are equal to an earlier one."""


def check(
    content: BinaryIO, judge: Judge, settings: JobsConfig = JobsConfig(), endpoint: str = ""
) -> Checked:
    """Reads all of `content`, from where it stands. `endpoint` is what the lines are to ask for;
    "": whatever the first good line does.

    Codes of problems: empty_file, file_too_large, too_many_lines, invalid_encoding, empty_line,
    line_too_long, invalid_json_line, missing_required_parameter, invalid_type, invalid_custom_id,
    duplicate_custom_id, invalid_method, invalid_url, mismatched_endpoint, stream_not_supported,
    and those of `judge`.
    """
    return _Reading(content, judge, settings, endpoint).read()


class _BadLine(Exception):
    def __init__(self, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class _Raw(NamedTuple):
    """A line as it stands in the file."""

    line_no: int
    offset: int
    text: bytes
    """Without its end; b"" where it is too long."""
    is_too_long: bool


class _Reading:
    """One pass through one file."""

    def __init__(self, content: BinaryIO, judge: Judge, rules: JobsConfig, endpoint: str) -> None:
        self._content, self._judge, self._rules = content, judge, rules
        self._checked = Checked(endpoint=endpoint)
        self._names: dict[str, int] = {}
        self._digests: set[bytes] = set()
        self._verdicts: dict[str, Policy | Refusal] = {}

    def read(self) -> Checked:
        checked = self._checked
        try:
            self._look_at_whole()
            for raw in self._raw_lines():
                self._take(raw)
        except _BadLine as problem:
            self._note(0, problem)
        if not self._names and not checked.problems:
            self._note(0, _BadLine("empty_file", "the file has no lines"))
        return checked

    def _look_at_whole(self) -> None:
        start = self._content.tell()
        size_bytes = self._content.seek(0, os.SEEK_END) - start
        self._content.seek(start)
        if size_bytes > self._rules.file_max_bytes:
            message = f"the file has {size_bytes} bytes, at most {self._rules.file_max_bytes}"
            raise _BadLine("file_too_large", message)
        head = self._content.read(4)
        if head[:2] in _WIDE or b"\0" in head:
            raise _BadLine("invalid_encoding", "the file is not UTF-8: it looks like UTF-16 or -32")
        self._content.seek(start + (len(_BOM) if head[:3] == _BOM else 0))

    def _raw_lines(self) -> Iterator[_Raw]:
        """Lines up to the last one that is not empty."""
        line_no, longest = 0, self._rules.line_max_bytes
        empty: list[_Raw] = []
        offset = self._content.tell()
        # Two more: the end of the line does not count.
        while piece := self._content.readline(longest + 2):
            line_no += 1
            if line_no > self._rules.lines_max:
                message = f"the file has more than {self._rules.lines_max} lines"
                raise _BadLine("too_many_lines", message)
            text = piece.rstrip(b"\r\n")
            is_whole = piece.endswith(b"\n") or len(piece) < longest + 2
            is_too_long = len(text) > longest or not is_whole
            raw = _Raw(line_no, offset, b"" if is_too_long else text, is_too_long)
            offset += len(piece) + (0 if is_whole else self._skip())
            if not is_too_long and not text.strip():
                empty = [*empty, raw] if len(empty) < PROBLEMS_MAX else empty
                continue
            yield from empty
            empty = []
            yield raw

    def _skip(self) -> int:
        """Reads the rest of a line; its bytes."""
        skipped = 0
        while piece := self._content.readline(_SKIP_BYTES):
            skipped += len(piece)
            if piece.endswith(b"\n"):
                break
        return skipped

    def _take(self, raw: _Raw) -> None:
        try:
            line, body = self._line(raw)
        except _BadLine as problem:
            self._note(raw.line_no, problem)
            return
        if not self._checked.problems:
            self._checked.lines.append(line)
            self._weigh(line, body)

    def _line(self, raw: _Raw) -> tuple[Line, bytes]:
        """The line, and its body in canonical spelling."""
        if raw.is_too_long:
            message = f"the line has more than {self._rules.line_max_bytes} bytes"
            raise _BadLine("line_too_long", message)
        fields = _parsed(raw.text)
        custom_id = self._custom_id(fields, raw.line_no)
        operation = self._operation(fields)
        body = _required(fields, "body", dict, "an object")
        model = _required(body, "model", str, "a string", "body.")
        if not 0 < len(model) <= _MODEL_CHARS_MAX:
            message = f"body.model must have 1 to {_MODEL_CHARS_MAX} characters"
            raise _BadLine("invalid_model", message, "body.model")
        if body.get("stream") not in (None, False):
            message = "a batch has no streams: leave out body.stream"
            raise _BadLine("stream_not_supported", message, "body.stream")
        policy = self._verdict(model)
        spelt = canonical(body)
        media = may_hold_media(raw.text)
        reason = bypass_reason(operation, body, policy, media_possible=media)
        # What the cache may not keep is asked for each line by itself.
        digest = hashlib.sha256(spelt if not reason else spelt + custom_id.encode()).digest()
        tokens = estimated_input(spelt) if operation == "embeddings" else estimated_tokens(spelt)
        place = (raw.offset, len(raw.text))
        return Line(custom_id, raw.line_no, model, digest, *place, tokens), spelt

    def _custom_id(self, fields: Mapping[str, Any], line_no: int) -> str:
        name: str = _required(fields, "custom_id", str, "a string")
        if not 0 < len(name) <= CUSTOM_ID_CHARS_MAX:
            message = f"custom_id must have 1 to {CUSTOM_ID_CHARS_MAX} characters"
            raise _BadLine("invalid_custom_id", message, "custom_id")
        first = self._names.setdefault(name, line_no)
        if first != line_no:
            message = f"custom_id {_shown(name)} stands in line {first} already"
            raise _BadLine("duplicate_custom_id", message, "custom_id")
        return name

    def _operation(self, fields: Mapping[str, Any]) -> str:
        method = _required(fields, "method", str, "a string")
        if method != "POST":
            raise _BadLine("invalid_method", 'method must be "POST"', "method")
        url = _required(fields, "url", str, "a string")
        operation = OPERATIONS.get(url)
        if operation is None:
            message = f"url {_shown(url)} must be one of: {', '.join(OPERATIONS)}"
            raise _BadLine("invalid_url", message, "url")
        endpoint = self._checked.endpoint = self._checked.endpoint or url
        if url != endpoint:
            message = f"url is {url}, and this batch is for {endpoint}: one endpoint in a file"
            raise _BadLine("mismatched_endpoint", message, "url")
        return operation

    def _verdict(self, model: str) -> Policy:
        verdict = self._verdicts.get(model)
        if verdict is None:
            verdict = self._verdicts[model] = self._judge(model, self._checked.endpoint)
        if isinstance(verdict, Refusal):
            raise _BadLine(verdict.code, verdict.message, "body.model")
        return verdict

    def _weigh(self, line: Line, body: bytes) -> None:
        if line.request_digest in self._digests:
            self._checked.followers += 1
            return
        self._digests.add(line.request_digest)
        load = self._checked.loads.setdefault(line.model, Load())
        tokens_in = min(estimated_input(body), line.tokens_estimated)
        load.lines += 1
        load.tokens_in += tokens_in
        load.tokens_out += line.tokens_estimated - tokens_in
        load.size_bytes += line.length + 1

    def _note(self, line_no: int, problem: _BadLine) -> None:
        checked = self._checked
        checked.problem_count += 1
        if len(checked.problems) < PROBLEMS_MAX:
            found = LineProblem(line_no, problem.code, problem.message, problem.param)
            checked.problems.append(found)
        # Nothing of the file is accepted any more.
        checked.lines.clear()
        checked.loads.clear()
        checked.followers = 0


def _parsed(text: bytes) -> dict[str, Any]:
    if not text.strip():
        raise _BadLine("empty_line", "the line is empty")
    try:
        return parse_object(text)
    except BadRequest as error:
        message = error.message.replace("body is not", "the line is not")
        code = "invalid_encoding" if message.endswith("UTF-8") else "invalid_json_line"
        raise _BadLine(code, message) from None


def _required(fields: Mapping[str, Any], name: str, kind: type, said: str, where: str = "") -> Any:
    value = fields.get(name)
    if value is None:
        raise _BadLine("missing_required_parameter", f"{where}{name} is missing", where + name)
    if not isinstance(value, kind):
        raise _BadLine("invalid_type", f"{where}{name} must be {said}", where + name)
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")
