"""What single fields of a request's body say. Raises BadRequest for what is no such thing."""

from __future__ import annotations

from typing import Any

from headgate.core.verdict import LIMIT_FIELDS
from headgate.errors import BadRequest

MODEL_CHARS_MAX = 500
"""A longer name is none, and would stay: in plans, in the metrics, in a header of each reply."""
_CHOICES_MAX = 1_000


def model_in(fields: dict[str, Any]) -> str:
    """The model that is asked for, as it is spelt."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest('"model" must be a non-empty string', code="missing_model")
    if len(model) > MODEL_CHARS_MAX:
        raise BadRequest(f'"model" must be a name of at most {MODEL_CHARS_MAX} characters')
    return model


def flag_in(fields: dict[str, Any], name: str) -> bool:
    """Whether a field says true; absent and null say false."""
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f'"{name}" must be true or false')
    return bool(value)


def asks_usage(fields: dict[str, Any]) -> bool:
    """Whether a request for a stream asks that it tells its usage."""
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def bounds_answer(fields: dict[str, Any]) -> bool:
    """Whether a request sets a limit to the length of its answer."""
    if LIMIT_FIELDS.isdisjoint(fields):
        return False
    return any(fields.get(name) is not None for name in LIMIT_FIELDS)


def choices_in(fields: dict[str, Any]) -> int:
    """How many answers are asked for; what is no count is the provider's to refuse."""
    count = fields.get("n")
    return count if isinstance(count, int) and 1 <= count <= _CHOICES_MAX else 1
