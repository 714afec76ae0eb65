"""What each step of a chain takes from where."""

from __future__ import annotations

from appspelling import app_of

from headgate.generate.taking import PREVIOUS, Takes, Taking

START = """llm f { provider: "fake" model: "m" }
prompt sort { model: f args: { question: string } output_schema: { topic: string }
  template: "{{question}}" }
prompt reply { model: f args: { question: string, topic: string, tone: "string = kind" }
  template: "{{question}} {{topic}} {{tone}}" }
prompt short { model: f args: { text: string, points: int } template: "{{text}} {{points}}" }
"""


def taken(chain: str) -> Takes:
    app = app_of(START + chain)
    return Taking(app).of(app.chains[-1])


def test_an_argument_called_as_a_field_of_an_earlier_output_takes_it() -> None:
    takes = taken('chain c { input_key: question steps: ["sort", "reply"] }')
    assert takes.steps == (
        {"question": PREVIOUS},
        {"question": "question", "topic": "topic", "tone": "tone"},
    )
    assert [(one.name, one.default) for one in takes.fields] == [("tone", "kind")]


def test_a_prompt_that_takes_no_such_field_takes_all_that_was_said() -> None:
    takes = taken('chain c { input_key: question steps: ["sort", "short"] }')
    assert takes.steps[1] == {"text": PREVIOUS, "points": "points"}
    assert [one.name for one in takes.fields] == ["points"]


def test_the_input_goes_to_the_first_argument_that_nothing_else_is_for() -> None:
    assert taken('chain c { steps: ["short"] }').steps == ({"text": PREVIOUS, "points": "points"},)


def test_a_chain_inside_a_chain_asks_for_its_fields_too() -> None:
    text = 'chain inner { steps: ["short"] }\nchain c { steps: ["llm:f", "chain:inner"] }'
    takes = taken(text)
    assert [one.name for one in takes.fields] == ["points"]
    assert takes.steps == ({}, {})


def test_what_a_chain_inside_a_chain_has_told_is_known() -> None:
    text = 'chain inner { input_key: question steps: ["sort"] }\n'
    takes = taken(text + 'chain c { input_key: question steps: ["chain:inner", "reply"] }')
    assert takes.steps[1]["topic"] == "topic"
