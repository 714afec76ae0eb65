"""The demo's questions: which there are, and in what order they arrive."""

from __future__ import annotations

from collections import Counter

import pytest

from headgate.demo.workload import questions, stream


def test_the_bundled_questions_are_385_different_texts_of_one_line() -> None:
    texts = questions()
    assert len(texts) == len(set(texts)) == 385
    assert all(text == text.strip() and text.isprintable() and text for text in texts)


def test_the_same_seed_gives_the_same_stream_and_another_seed_another() -> None:
    texts = questions()
    assert stream(texts, 300) == stream(texts, 300)
    assert stream(texts, 300) != stream(texts, 300, seed=1)


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    texts = questions()
    assert stream(texts, 300)[:100] == stream(texts, 100)


def test_popular_questions_are_asked_as_often_as_zipfs_law_says() -> None:
    texts = [str(rank) for rank in range(1, 11)]
    counts = Counter(stream(texts, 20_000))
    harmonic = sum(1 / rank for rank in range(1, 11))
    for rank in range(1, 11):
        # Four standard deviations of a binomial count are below 4 * sqrt(20000 / 4) = 283.
        assert counts[str(rank)] == pytest.approx(20_000 / rank / harmonic, abs=283)


def test_an_exponent_of_0_asks_all_alike() -> None:
    counts = Counter(stream(["a", "b", "c", "d"], 20_000, exponent=0.0))
    assert all(count == pytest.approx(5_000, abs=283) for count in counts.values())


def test_every_question_can_come_up() -> None:
    texts = ["a", "b", "c"]
    assert set(stream(texts, 100)) == {"a", "b", "c"}
    assert stream(["only"], 3) == ["only"] * 3
    assert stream(texts, 0) == []
