"""What an input carries on its way."""

from __future__ import annotations

from headgate.joining.seats import Party, Seat


def test_a_seat_is_nobodys_until_it_is_told_and_calls_share_none() -> None:
    seat, other = Seat(), Seat(Party(), b'"a"', 3)
    assert (seat.party, seat.written, seat.is_absent, seat.is_in_company) == (
        None,
        b"",
        False,
        False,
    )
    assert seat.joins
    assert other.party is not None
    other.party.size = 2
    assert Party().size == 0
    assert (other.written, other.tokens, other.terms) == (b'"a"', 3, b"")
