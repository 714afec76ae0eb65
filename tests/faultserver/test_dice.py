"""Chance that can be repeated."""

from __future__ import annotations

from headgate.faultserver.dice import Dice


def numbers(dice: Dice) -> list[float]:
    return [dice.number() for _ in range(200)]


def test_equal_seeds_and_requests_give_equal_numbers() -> None:
    assert numbers(Dice(7, 3)) == numbers(Dice(7, 3))


def test_another_seed_or_request_gives_other_numbers() -> None:
    assert numbers(Dice(7, 3)) != numbers(Dice(8, 3))
    assert numbers(Dice(7, 3)) != numbers(Dice(7, 4))
    assert numbers(Dice(7, 3)) != numbers(Dice(7, -3))


def test_what_is_certain_always_strikes_and_what_is_impossible_never() -> None:
    dice = Dice(1, 1)
    assert all(dice.strikes(1.0) for _ in range(1000))
    assert not any(dice.strikes(0.0) for _ in range(1000))
    assert 400 < sum(dice.strikes(0.5) for _ in range(1000)) < 600


def test_numbers_stay_around_their_middle_and_above_zero() -> None:
    dice = Dice(1, 1)
    drawn = [dice.around(10, 2) for _ in range(1000)]
    assert 8 <= min(drawn) < 8.5
    assert 11.5 < max(drawn) <= 12
    assert min(dice.around(1, 5) for _ in range(1000)) == 0


def test_bytes_are_drawn_from_all_there_are() -> None:
    assert len(Dice(1, 1).bytes(16)) == 16
    assert len(set(Dice(1, 1).bytes(5000))) == 256
