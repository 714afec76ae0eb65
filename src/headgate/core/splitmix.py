"""Numbers that look random and are not: SplitMix64 as a pure function of seed and index.

Why not `random.Random`: only clock.py may hold dice, and that generator's sequence is not promised
to stay the same between Python versions, while a replayed workload has to. (Steele, Lea, Flood:
"Fast splittable pseudorandom number generators", OOPSLA 2014.) Pure.
"""

from __future__ import annotations

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15


def mix(seed: int, index: int) -> int:
    """The `index`-th (from 0) 64-bit number of the sequence that `seed` names."""
    state = (seed + (index + 1) * _GAMMA) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def uniform(seed: int, index: int) -> float:
    """The `index`-th number in [0, 1) of the sequence that `seed` names, 53 bits fine."""
    return (mix(seed, index) >> 11) * 2.0**-53
