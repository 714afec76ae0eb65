"""Settings blocks that check themselves: every number inside its bounds, or ConfigError. Pure.

A block is a frozen dataclass whose fields carry their range, as those of `layers/settings.py` do:
`Annotated[int, Bounds(1)]`. Built with a number outside, it says which key, what it got and what
would be right, for every field at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from headgate.core.units import Bounds
from headgate.errors import ConfigError, Problem


class Checked:
    """Base of a settings block. Raises ConfigError where a number is outside its bounds (NaN and
    infinity always are) or `contradictions` finds something."""

    def __post_init__(self) -> None:
        problems = list(problems_of(self)) or list(self.contradictions())
        if problems:
            raise ConfigError(problems)

    def contradictions(self) -> Iterator[Problem]:
        """What is wrong between settings that are each inside their bounds."""
        return iter(())


def problems_of(block: object) -> Iterator[Problem]:
    """One problem for each bounded field of a dataclass that holds something else than a number
    inside its bounds. None is right where the annotation says so."""
    hints = get_type_hints(type(block), include_extras=True)
    for name in (field.name for field in dataclasses.fields(block)):  # type: ignore[arg-type]
        if get_origin(hints[name]) is not Annotated:
            continue
        base, *marks = get_args(hints[name])
        bounds = next((mark for mark in marks if isinstance(mark, Bounds)), None)
        if bounds is not None:
            yield from _problem(name, getattr(block, name), base, bounds)


def _problem(name: str, value: Any, base: Any, bounds: Bounds) -> Iterator[Problem]:
    kinds = get_args(base) or (base,)
    if value is None and type(None) in kinds:
        return
    wanted = bounds.describe()
    if any(get_origin(kind) is Annotated or kind is float for kind in kinds):
        allowed: tuple[type, ...] = (int, float)
    else:
        allowed, wanted = (int,), f"a whole number, {wanted}"
    is_number = isinstance(value, allowed) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not bounds.admit(value):
        yield Problem(name, f"must be {wanted}, got {value!r}")
