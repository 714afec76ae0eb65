"""A hit of `cached_llm_call` against the least that is possible: SHA-256 of the prompt and a dict.

Targets: at most 4, 2 and 1.5 times that limit for prompts of 200 B, 4 KB and 64 KB. The limit
digests bytes that are there already; the second limit encodes the string first, as any library
that takes strings must.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256

from measure import compare, cpu_us, report, rounds

from headgate import Runtime

TARGETS = {"200 B": (200, 4.0), "4 KB": (4_096, 2.0), "64 KB": (65_536, 1.5)}
ROUNDS = 41
PARAMS = {"temperature": 0.7}
ANSWER = "The refund is on its way and should arrive within three working days."


def limit(prompt: str, count: int) -> Callable[[], float]:
    """The prompts are bytes already; each is an object of its own, as prompts that arrive are."""
    answers = {sha256(prompt.encode()).digest(): ANSWER}

    def work(contents: list[bytes]) -> None:
        for content in contents:
            answers[sha256(content).digest()]

    return lambda: cpu_us(partial(work, [text.encode() for text in copies(prompt, count)]), count)


def limit_of_text(prompt: str, count: int) -> Callable[[], float]:
    """The prompt is a string, as any library gets it."""
    answers = {sha256(prompt.encode()).digest(): ANSWER}

    def work(texts: list[str]) -> None:
        for text in texts:
            answers[sha256(text.encode()).digest()]

    return lambda: cpu_us(partial(work, copies(prompt, count)), count)


def hit(runtime: Runtime, prompt: str, params: dict[str, float], count: int) -> Callable[[], float]:
    """A string of its own for each call: a string that comes again has its hash already."""
    call = runtime.cached_llm_call
    call(prompt, "gpt-4o", params, lambda: ANSWER)

    def forbidden() -> str:
        raise AssertionError("not a hit")

    def work(texts: list[str]) -> None:
        for text in texts:
            call(text, "gpt-4o", params, forbidden)

    return lambda: cpu_us(partial(work, copies(prompt, count)), count)


def copies(prompt: str, count: int) -> list[str]:
    """Equal strings, none of which is another."""
    return [(prompt + "!")[:-1] for _ in range(count)]


def main() -> None:
    results = {}
    with Runtime() as runtime:
        for name, (size, target) in TARGETS.items():
            prompt = ("How do I get my money back? " * (size // 28 + 1))[:size]
            count = max(200, 4_000_000 // (size + 800))
            candidates = {
                "headgate": hit(runtime, prompt, PARAMS, count),
                "headgate, no params": hit(runtime, prompt, {}, count),
                "limit": limit(prompt, count),
                "limit with encode": limit_of_text(prompt, count),
            }
            figures = rounds(candidates, ROUNDS)
            results[name] = {
                "unit": "CPU us per hit",
                "target_ratio": target,
                **compare(figures, "headgate", "limit"),
                "no_params": compare(figures, "headgate, no params", "limit"),
                "with_encode": compare(figures, "headgate", "limit with encode"),
            }
    report("library hit", results)


if __name__ == "__main__":
    main()
