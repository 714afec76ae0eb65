"""The demo's questions: customers of a bank, the popular questions more often than the rare ones.

The texts are 385 questions of Banking77 (PolyAI, CC BY 4.0; white space trimmed), the order of
arrival is drawn here: rank r with weight 1 / r (Zipf's law, which help desks follow roughly). The
same seed gives the same stream. Pure but for reading the bundled file.
"""

from __future__ import annotations

from bisect import bisect
from importlib.resources import files
from itertools import accumulate

import msgspec

from headgate.core.splitmix import uniform

SOURCE = "Banking77 (PolyAI, CC BY 4.0)"
FILE = "banking77_questions.jsonl"
SEED = 2026


def questions() -> list[str]:
    """The bundled questions, most popular first."""
    text = files("headgate.demo").joinpath(FILE).read_text("utf-8")
    return [msgspec.json.decode(line)["text"] for line in text.splitlines()]


def stream(texts: list[str], count: int, *, exponent: float = 1.0, seed: int = SEED) -> list[str]:
    """`count` questions in order of arrival: rank r (from 1) has the weight r ** -exponent."""
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(len(texts))))
    return [texts[bisect(weights, uniform(seed, index) * weights[-1])] for index in range(count)]
