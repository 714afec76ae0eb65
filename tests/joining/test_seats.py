"""What an input carries on its way."""

from __future__ import annotations

from headgate.joining.seats import Party, Seat, is_refused_for_others


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
    other.party.keys = frozenset({b"k"})
    assert Party().keys == frozenset()
    assert (other.written, other.tokens, other.terms) == (b'"a"', 3, b"")


def seat_of(*keys: bytes) -> Seat:
    party = Party()
    party.keys = frozenset(keys)
    return Seat(party)


def test_a_refusal_is_that_of_others_unless_they_are_all_asked_for_here_too() -> None:
    asked = seat_of(b"a", b"b")
    for joined in (None, Seat(), seat_of(b"a"), seat_of(b"a", b"c")):
        assert is_refused_for_others(asked, joined, 400)
        assert not is_refused_for_others(asked, joined, 429)
        assert not is_refused_for_others(seat_of(b"a"), joined, 400)
        assert not is_refused_for_others(Seat(), joined, 400)
        assert not is_refused_for_others(None, joined, 400)
    assert not is_refused_for_others(asked, seat_of(b"a", b"b", b"c"), 400)
