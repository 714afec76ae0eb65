"""Names of calls: the same for each attempt at one target, and for nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.idempotency import drawn_name, key_at


@given(st.binary(max_size=300), st.text(max_size=50), st.binary(max_size=300), st.text(max_size=50))
def test_two_keys_are_the_same_only_for_one_name_at_one_target(
    name: bytes, target: str, other: bytes, elsewhere: str
) -> None:
    same = (name, target) == (other, elsewhere)
    assert (key_at(name, target) == key_at(other, elsewhere)) is same


def test_a_key_fits_into_any_header() -> None:
    key = key_at(b"n" * 30_000, "a/" + "m" * 500)
    assert len(key) == 64
    assert key.isalnum()


def test_the_dice_decide_about_a_name() -> None:
    numbers = [0.0, 2**-53, 0.5, 1 - 2**-53]
    names = {drawn_name(first, second) for first in numbers for second in numbers}
    assert len(names) == 16
