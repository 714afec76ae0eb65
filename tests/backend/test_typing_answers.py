"""Answers of a declared type: repaired, given up, and never kept where they were of no use."""

from __future__ import annotations

import pytest
from backends import CLAUDE, FAST, SCHEMA, SUMMARISE, Summary, ask

from headgate.backend import Llm, Prompt
from headgate.backend.typing_answers import checked, unfenced, why
from headgate.testing import Answer, FakeProvider

ASKED = ("prompt", SUMMARISE, {"text": "long"})
GOOD = '{"summary": "short"}'


@pytest.mark.parametrize("llm", [FAST, CLAUDE])
def test_the_fake_provider_answers_by_the_schema(llm: Llm) -> None:
    with FakeProvider() as provider:
        summarise = Prompt("s", llm, "Summarise {{text}}", output=Summary, schema=SCHEMA)
        (first,) = ask(provider, ("prompt", summarise, {"text": "long"}))
        assert len(provider.calls) == 1, "nothing to repair"
    assert first.json["output"] == {"summary": "example"}


def test_an_answer_of_another_type_is_sent_back_with_the_reason() -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text='{"summary": 3}'), Answer(text=GOOD))
        first, second = ask(provider, ASKED, ASKED)
        assert len(provider.calls) == 2
        said = provider.calls[1].body["messages"]
    assert first.json["output"] == {"summary": "short"}
    assert second.json == {**first.json, "cached": True}
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]
    assert said[2]["content"] == '{"summary": 3}'
    assert "summary: Input should be a valid string" in said[3]["content"]


def test_after_the_last_repair_it_is_an_error_that_is_not_kept() -> None:
    with FakeProvider() as provider:
        provider.script(*[Answer(text="no json")] * 2, Answer(text=GOOD))
        failed, fresh = ask(provider, ASKED, ASKED)
        assert len(provider.calls) == 3
    assert (failed.status, failed.json["error"]["code"]) == (502, "output_mismatch")
    assert (
        "does not match the output of 'summarise': Invalid JSON"
        in (failed.json["error"]["message"])
    )
    assert fresh.json["output"] == {"summary": "short"}


def test_without_repairs_it_is_asked_once() -> None:
    strict = Prompt("p", FAST, "{{text}}", output=Summary, schema=SCHEMA, repairs=0)
    with FakeProvider() as provider:
        provider.script(Answer(text="[]"))
        (failed,) = ask(provider, ("prompt", strict, {"text": "x"}))
        assert (failed.status, len(provider.calls)) == (502, 1)


@pytest.mark.parametrize("text", [GOOD, f"  {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}```"])
def test_a_fence_around_json_is_no_part_of_it(text: str) -> None:
    assert checked(Summary, text) == b'{"summary":"short"}'


@pytest.mark.parametrize("text", ["```", "``````", "```json```", "`x`", ""])
def test_what_is_no_fence_stays(text: str) -> None:
    assert unfenced(text) == text


def test_a_reason_does_not_repeat_what_was_said() -> None:
    with pytest.raises(ValueError, match="secret") as failed:
        checked(Summary, '{"summary": "x", "secret": "hush"}')
    assert why(failed.value) == "secret: Extra inputs are not permitted"
    assert why(ValueError("plain")) == "plain"
