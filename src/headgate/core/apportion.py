"""A whole number shared out by weights so that the parts sum to it exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from headgate.types import Usage


def apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """`total` (>= 0) in proportion to `weights` (>= 0), by the largest remainder (Hamilton); of
    equal remainders the first ones get more. All weights 0: as if they were equal. At least one.
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    parts, remainders = zip(*(divmod(total * weight, whole) for weight in weights), strict=True)
    shared = list(parts)
    order = sorted(range(len(weights)), key=lambda at: -remainders[at])
    for at in order[: total - sum(parts)]:
        shared[at] += 1
    return shared


def usage_parts(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    """The usage of a reply to several, class by class: their sum is the usage."""
    shared = [apportioned(number, weights) if number else None for number in structs.astuple(usage)]
    return [
        Usage(*(0 if parts is None else parts[at] for parts in shared))
        for at in range(len(weights))
    ]


class Sums(Struct):
    """Usages added up."""

    total: Usage = Usage()

    def add(self, usage: Usage) -> None:
        pairs = zip(structs.astuple(self.total), structs.astuple(usage), strict=True)
        self.total = Usage(*(mine + more for mine, more in pairs))
