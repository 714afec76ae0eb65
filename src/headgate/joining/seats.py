"""What the inputs of embeddings calls carry on their way: whose they are, and how far they are."""

from __future__ import annotations

from typing import Any

REFUSALS = frozenset({400, 413, 422})
"""What a request may be refused with for the sake of one input, or of their number."""


class Party:
    """The inputs of one call that have to be asked for, each by itself. Made anew for each call."""

    __slots__ = ("charge", "keys", "reserved", "tokens")

    def __init__(self) -> None:
        self.keys: frozenset[bytes] = frozenset()
        """Which there are."""
        self.tokens = 0
        """What they may take, all together."""
        self.reserved: Any = None
        """What the limits of the client said to the first of them: it holds for all."""
        self.charge: Any = None
        """A `spending.Charge`, where they said yes."""


class Seat:
    """One input. `written` is its JSON, empty where the body of its call says it: it is alone."""

    __slots__ = (
        "is_absent", "is_in_company", "joins", "party", "place", "terms", "tokens", "written",
    )  # fmt: skip

    def __init__(self, party: Party | None = None, written: bytes = b"", tokens: int = 0) -> None:
        self.party = party
        self.written = written
        self.tokens = tokens
        self.place = 0
        """Which of the inputs of its call it is."""
        self.terms = b""
        """Everything in the body but the input."""
        self.joins = True
        """Whether it may go upstream with inputs of other calls."""
        self.is_absent = False
        """The slower tier does not have it: it was looked for."""
        self.is_in_company = False
        """It has gone upstream together with inputs of other calls."""


def is_refused_for_others(asked: Seat | None, joined: Seat | None, status: int) -> bool:
    """Whether the input `asked` may have been refused because of others of its call, which are not
    all in the call that has `joined` it."""
    party = None if asked is None else asked.party
    if party is None or len(party.keys) < 2 or status not in REFUSALS:
        return False
    other = None if joined is None else joined.party
    return other is None or not party.keys <= other.keys
