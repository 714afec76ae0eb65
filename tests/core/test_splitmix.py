"""The published sequence of SplitMix64, and the numbers in [0, 1) made from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.splitmix import mix, uniform

# The first outputs of the authors' C program for these seeds.
PUBLISHED = {
    0: (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC),
    1234567: (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431),
}
SEEDS = st.integers(0, 2**64 - 1)


def test_the_sequence_is_the_published_one() -> None:
    for seed, numbers in PUBLISHED.items():
        assert tuple(mix(seed, index) for index in range(4)) == numbers


@given(SEEDS, st.integers(0, 10**6))
def test_a_number_has_64_bits_and_its_fraction_lies_below_1(seed: int, index: int) -> None:
    assert 0 <= mix(seed, index) < 2**64
    assert 0.0 <= uniform(seed, index) < 1.0
    assert uniform(seed, index) == (mix(seed, index) >> 11) / 2**53


@given(SEEDS)
def test_one_seed_does_not_repeat_itself(seed: int) -> None:
    assert len({mix(seed, index) for index in range(100)}) == 100


def test_neighbouring_seeds_do_not_share_numbers() -> None:
    assert len({mix(seed, index) for seed in range(100) for index in range(100)}) == 10_000


def test_fractions_fill_the_interval_evenly() -> None:
    tenths = [0] * 10
    for index in range(10_000):
        tenths[int(uniform(7, index) * 10)] += 1
    assert all(900 <= count <= 1100 for count in tenths), tenths
