"""What the inputs of embeddings calls carry on their way: whose they are, and how far they are."""

from __future__ import annotations

from typing import Any


class Party:
    """The inputs of one call that have to be asked for, each by itself. Made anew for each call."""

    __slots__ = ("charge", "reserved", "size", "tokens")

    def __init__(self) -> None:
        self.size = 0
        """How many there are."""
        self.tokens = 0
        """What they may take, all together."""
        self.reserved: Any = None
        """What the limits of the client said to the first of them: it holds for all."""
        self.charge: Any = None
        """A `spending.Charge`, where they said yes."""


class Seat:
    """One input. `written` is its JSON, empty where the body of its call says it: it is alone."""

    __slots__ = ("is_absent", "is_in_company", "joins", "party", "terms", "tokens", "written")

    def __init__(self, party: Party | None = None, written: bytes = b"", tokens: int = 0) -> None:
        self.party = party
        self.written = written
        self.tokens = tokens
        self.terms = b""
        """Everything in the body but the input."""
        self.joins = True
        """Whether it may go upstream with inputs of other calls."""
        self.is_absent = False
        """No tier has it: it was looked for."""
        self.is_in_company = False
        """It has gone upstream together with inputs of other calls."""
