"""A walk through a chain, step by step."""

from __future__ import annotations

from backends import FAST, TITLE, ask

from headgate.backend import PREVIOUS, Chain, Prompt, Step
from headgate.testing import Answer, FakeProvider

BOTH = Prompt("both", FAST, "{{a}} and {{b}}")


def said(provider: FakeProvider) -> list[str]:
    return [call.body["messages"][-1]["content"] for call in provider.calls]


def test_a_chain_inside_a_chain_takes_the_text_before_it() -> None:
    inner = Chain("text", (Step("t", TITLE, {"text": PREVIOUS}),))
    outer = Chain("input", (Step("ask", FAST), Step("inner", inner), Step("end", FAST)))
    with FakeProvider() as provider:
        provider.script(Answer(text="one"), Answer(text="two"), Answer(text="three"))
        (reply,) = ask(provider, ("chain", outer, {"input": "start"}))
        assert said(provider) == ["start", "Title of one", "two"]
    assert [step["name"] for step in reply.json["steps"]] == ["ask", "inner.t", "end"]
    assert reply.json["output"] == "three"


def test_a_step_takes_fields_of_the_request() -> None:
    chain = Chain("input", (Step("x", BOTH, {"a": PREVIOUS, "b": "more"}),))
    with FakeProvider() as provider:
        ask(provider, ("chain", chain, {"input": "start", "more": [1, "{{a}}"]}))
        assert said(provider) == ['start and [1,"{{a}}"]']
