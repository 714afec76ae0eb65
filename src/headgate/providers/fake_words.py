"""What the fake provider says, before any dialect gives it a shape: a short answer that quotes the
question, or a tool call, and why it ends. Pure: no clock, no dice, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from headgate.core.canonical import canonical
from headgate.errors import BadRequest
from headgate.providers.fake_schemas import example_of

CREATED_S = 1_767_225_600
"""2026-01-01T00:00:00Z: every answer's `created`, so that equal requests get equal bytes."""

_SHAPE_FIELDS = frozenset({"stream", "stream_options", "encoding_format"})
_CHARS_PER_TOKEN = 4
_QUOTE_CHARS_MAX = 160
_PIECE_CHARS = 16

_OPENERS = ("Thanks for asking.", "Good question.", "Happy to help.", "Here is the short answer.")
_ADVICE = (
    "Most cases like this settle by themselves within two working days; if yours does not, write"
    " again and quote the reference below.",
    "Open your settings, choose the entry in question and follow the steps shown there; it takes"
    " about three minutes.",
    "This usually means that one detail has to be confirmed again; confirm it once and repeat the"
    " request.",
    "Nothing is lost: wait for the confirmation message, then check again before you repeat"
    " anything.",
    "Yes, that is possible for every account, and it costs nothing; the change takes effect at"
    " once.",
)


class Tool(Struct, frozen=True):
    """A function the request forces the model to call."""

    name: str
    schema: Any


class Wish(Struct, frozen=True):
    """What a request asks for, in no dialect: filled in by the dialect that read it."""

    fields: Mapping[str, Any]
    question: str
    tokens_in: int
    choices: int = 1
    tokens_max: int | None = None
    stops: tuple[str, ...] = ()
    tool: Tool | None = None
    schema: Any = None
    """JSON Schema that the text must satisfy; None: prose."""


class Saying(Struct, frozen=True):
    """One choice: a text, or JSON arguments for `tool`."""

    text: str
    ending: str = "stop"
    """`stop`, `length`, `stop_sequence` or `tool`."""
    tool: str = ""
    stop_sequence: str | None = None

    @property
    def tokens(self) -> int:
        return tokens_of(self.text)


class Draft(Struct, frozen=True):
    """A whole answer in no dialect. `digest` (hex) names the request: ids are cut from it, and
    `mark` stands before them."""

    digest: str
    model: str
    tokens_in: int
    sayings: tuple[Saying, ...]
    mark: str = ""

    @property
    def tokens_out(self) -> int:
        return sum(saying.tokens for saying in self.sayings)

    def mint(self, label: str) -> str:
        """The mark and 24 hex digits, the same for the same request and label."""
        return self.mark + sha256(f"{label}:{self.digest}".encode()).hexdigest()[:24]


def tokens_of(text: str) -> int:
    """Four characters are a token, as tokenizers average on English; at least 1 unless empty."""
    return tokens_of_chars(len(text))


def tokens_of_chars(count: int) -> int:
    """As `tokens_of`, of a text of so many characters."""
    return -(-count // _CHARS_PER_TOKEN)


def draft(operation: str, wish: Wish, text: str | None = None, mark: str = "") -> Draft:
    """The answer to `wish`; `text` replaces the words, and still ends where the wish says. `mark`
    stands in front of the ids and at both ends of prose."""
    digest = digest_of(operation, wish.fields)
    sayings = tuple(_say(wish, digest, index, text, mark) for index in range(wish.choices))
    return Draft(digest, model_of(wish.fields), wish.tokens_in, sayings, mark)


def digest_of(operation: str, fields: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the request without the fields that choose only the answer's shape, so
    that whole and streamed answers have the same words and ids."""
    kept = {name: value for name, value in fields.items() if name not in _SHAPE_FIELDS}
    return sha256(operation.encode() + b"\0" + canonical(kept)).hexdigest()


def model_of(fields: Mapping[str, Any]) -> str:
    """The model asked for. Raises BadRequest where none is named."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter")
    return model


def number_in(
    fields: Mapping[str, Any], *names: str, low: int = 1, high: int = 1_000_000
) -> int | None:
    """The first of the named whole numbers that is present, else None.

    Raises BadRequest for another type or a number outside [low, high].
    """
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadRequest(f"{name} must be a whole number from {low} to {high}")
        return value
    return None


def texts_in(content: Any) -> Iterator[str]:
    """Every piece of text in a prompt, a message list or a list of content parts, in order."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from texts_in(part)
    elif isinstance(content, Mapping):
        for name in ("content", "text", "output"):
            yield from texts_in(content.get(name))


def last_question(messages: Any) -> str:
    """The text of the last message that a user sent; "" if there is none."""
    if isinstance(messages, str):
        return messages
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, Mapping) and message.get("role", "user") == "user":
            return " ".join(texts_in(message))
    return ""


def tokens_in(*contents: Any) -> int:
    """Tokens of all text in `contents`; at least 1."""
    return max(1, sum(tokens_of(text) for content in contents for text in texts_in(content)))


def tokens_of_tools(tools: Any) -> int:
    """Tokens of the tool definitions, which providers charge as input."""
    return tokens_of(canonical(tools).decode()) if tools else 0


def pieces_of(text: str) -> list[str]:
    """`text` as a model would stream it: a few tokens at a time; one empty piece if empty."""
    return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)] or [""]


def _say(wish: Wish, digest: str, index: int, text: str | None, mark: str) -> Saying:
    if wish.tool is not None and text is None:
        arguments = example_of(wish.tool.schema)
        said = canonical(arguments if isinstance(arguments, dict) else {}).decode()
        return Saying(said, "tool", wish.tool.name)
    if text is None:
        text = _words(wish, digest, index, mark)
    stop = min((s for s in wish.stops if s and s in text), key=text.index, default=None)
    if stop is not None:
        text = text[: text.index(stop)]
    if wish.tokens_max is not None and tokens_of(text) > wish.tokens_max:
        return Saying(text[: wish.tokens_max * _CHARS_PER_TOKEN], "length")
    return Saying(text, "stop") if stop is None else Saying(text, "stop_sequence", "", stop)


def _words(wish: Wish, digest: str, index: int, mark: str) -> str:
    if wish.schema is not None:
        return canonical(example_of(wish.schema)).decode()
    number = int(digest[:8], 16) + index
    quoted = " ".join(wish.question.split())
    if len(quoted) > _QUOTE_CHARS_MAX:
        quoted = quoted[:_QUOTE_CHARS_MAX].rstrip() + "\u2026"
    asked = f" You asked: \u201c{quoted}\u201d" if quoted else ""
    words = (
        f"{_OPENERS[number % len(_OPENERS)]}{asked}"
        f" {_ADVICE[number % len(_ADVICE)]}"
        f" (Reference {digest[:8]}-{index}; a made-up answer of the fake provider.)"
    )
    return f"{mark} {words} {mark}" if mark else words
