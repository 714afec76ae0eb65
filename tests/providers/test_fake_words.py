"""What the fake says before any dialect: words, ends, ids, and examples of a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import BadRequest
from headgate.providers.fake_words import (
    Draft,
    Tool,
    Wish,
    digest_of,
    draft,
    last_question,
    model_of,
    number_in,
    pieces_of,
    texts_in,
    tokens_in,
    tokens_of,
    tokens_of_tools,
)

FIELDS: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
TOOL = Tool("find", {"type": "object", "properties": {"city": {"type": "string"}}})


def drafted(text: str | None = None, **wished: Any) -> Draft:
    return draft("chat", Wish(FIELDS, "Why?", 1, **wished), text)


def test_the_answer_quotes_the_question_and_calls_itself_made_up() -> None:
    (saying,) = drafted().sayings
    assert "\u201cWhy?\u201d" in saying.text
    assert "made-up" in saying.text
    assert saying.ending == "stop"


def test_a_long_question_is_quoted_in_part_and_in_one_line() -> None:
    (saying,) = draft("chat", Wish(FIELDS, "first\n\nline " + "x" * 1000, 1)).sayings
    assert "first line xxx" in saying.text
    assert "\u2026\u201d" in saying.text
    assert len(saying.text) < 500


def test_equal_requests_are_answered_alike_and_different_ones_differently() -> None:
    assert drafted() == drafted()
    other = draft("chat", Wish(FIELDS | {"seed": 1}, "Why?", 1))
    assert other.sayings != drafted().sayings
    assert other.mint("id") != drafted().mint("id")


def test_the_digest_is_blind_to_fields_that_choose_only_the_shape() -> None:
    shapes = {"stream": True, "stream_options": {}, "encoding_format": "base64"}
    assert digest_of("chat", FIELDS | shapes) == digest_of("chat", FIELDS)
    assert digest_of("chat", FIELDS | {"user": "u"}) != digest_of("chat", FIELDS)
    assert digest_of("messages", FIELDS) != digest_of("chat", FIELDS)


def test_ids_of_one_answer_differ_by_label() -> None:
    minted = {drafted().mint(label) for label in ("id", "request", "call0", "call1")}
    assert len(minted) == 4
    assert all(len(name) == 24 and int(name, 16) for name in minted)


def test_several_choices_say_different_things() -> None:
    said = drafted(choices=5).sayings
    assert len({saying.text.partition("(Reference")[0] for saying in said}) == 5
    assert drafted(choices=5).tokens_out == sum(saying.tokens for saying in said)


def test_a_limit_on_tokens_cuts_the_answer() -> None:
    whole = drafted().sayings[0].text
    (saying,) = drafted(tokens_max=3).sayings
    assert (saying.ending, saying.tokens) == ("length", 3)
    assert whole.startswith(saying.text)
    exact = drafted(tokens_max=tokens_of(whole)).sayings[0]
    assert (exact.ending, exact.text) == ("stop", whole)


def test_the_first_stop_sequence_in_the_text_ends_it() -> None:
    (saying,) = drafted("one two three", stops=("three", " two", "absent", "")).sayings
    assert (saying.text, saying.ending, saying.stop_sequence) == ("one", "stop_sequence", " two")


def test_a_limit_before_the_stop_sequence_wins() -> None:
    (saying,) = drafted("one two three", stops=(" three",), tokens_max=1).sayings
    assert (saying.text, saying.ending, saying.stop_sequence) == ("one ", "length", None)


def test_given_words_replace_the_usual_ones_and_a_tool_call() -> None:
    assert drafted("Paris", tool=TOOL).sayings[0].text == "Paris"
    assert drafted("Paris").mint("id") == drafted().mint("id")


def test_a_forced_tool_is_called_with_arguments_of_its_schema() -> None:
    (saying,) = drafted(tool=TOOL).sayings
    assert (saying.ending, saying.tool, saying.text) == ("tool", "find", '{"city":"example"}')


@pytest.mark.parametrize("schema", [None, {"type": "string"}, {}, 7])
def test_a_tool_without_an_object_schema_is_called_without_arguments(schema: Any) -> None:
    assert drafted(tool=Tool("find", schema)).sayings[0].text == "{}"


def test_a_wanted_schema_is_answered_with_json() -> None:
    assert drafted(schema={"type": "array", "items": {"const": 5}}).sayings[0].text == "[5]"


@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(pieces_of(text)) == text
    assert len(pieces_of(text)) >= 1
    assert all(pieces_of(text)[1:])


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fifth", 2)])
def test_four_characters_are_a_token(text: str, tokens: int) -> None:
    assert tokens_of(text) == tokens


def test_the_input_has_at_least_one_token() -> None:
    assert tokens_in(None, "", []) == 1
    assert tokens_in("four", [{"content": "four"}]) == 2
    assert tokens_of_tools(None) == tokens_of_tools([]) == 0
    assert tokens_of_tools([{"name": "find"}]) == 5


def test_text_is_found_in_prompts_messages_and_parts_in_order() -> None:
    parts = [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "no"}}]
    messages = ["a", {"role": "user", "content": parts}, {"output": ["c"]}, None, 5]
    assert list(texts_in(messages)) == ["a", "b", "c"]


def test_the_last_question_is_the_last_message_of_a_user() -> None:
    asked = [{"role": "user", "content": "first"}, {"role": "user", "content": "second"}]
    assert last_question([*asked, {"role": "assistant", "content": "answer"}]) == "second"
    assert last_question([{"role": "system", "content": "s"}]) == ""
    assert last_question("plain") == "plain"
    assert last_question([None, 5]) == last_question(None) == ""


@pytest.mark.parametrize("model", [None, "", 5, ["m"]])
def test_a_request_must_name_its_model(model: Any) -> None:
    assert model_of({"model": "m"}) == "m"
    with pytest.raises(BadRequest, match="model"):
        model_of({"model": model})


def test_the_first_number_present_counts() -> None:
    assert number_in({"a": None, "b": 7, "c": 9}, "a", "b", "c") == 7
    assert number_in({}, "a") is None


@pytest.mark.parametrize("value", [0, -1, 11, 1.5, 2.0, "5", True, [1]])
def test_a_number_of_another_type_or_size_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="n must be a whole number from 1 to 10"):
        number_in({"n": value}, "n", high=10)
