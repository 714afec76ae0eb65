"""What users of other caches have complained about in public, one test for each: what went wrong
there must not go wrong here. Each docstring names the issue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import readers
from core.sdks import comparable
from dialects import RECORDINGS, Recording, question, streamed
from e2e.asking import Asking, asking, hit
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from headgate.config import Config
from headgate.core.sse import split
from headgate.errors import ConfigError
from headgate.layers.settings import IGNORED_FIELDS, CacheConfig
from headgate.testing import Answer


@pytest.fixture(scope="module")
def ask() -> Iterator[Asking]:
    with asking() as made:
        yield made


def recording(operation: str, name: str) -> Recording:
    return next(one for one in RECORDINGS if (one.operation, one.name) == (operation, name))


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def chat(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return question("chat", **more) | {"messages": list(turns)}


def answers(ask: Asking, *bodies: dict[str, Any], operation: str = "chat") -> list[bytes]:
    """The replies, each of which must have cost a call."""
    with ask.upstream(len(bodies)):
        return [ask.post(operation, body).body for body in bodies]


# Cache key, wrong answer.


def test_a_parameter_of_one_provider_alone_is_part_of_the_question(ask: Asking) -> None:
    """BerriAI/litellm#42400: `num_ctx` was not in the key, and the wrong answer was served."""
    text = ask.fresh()
    answers(ask, *(question("chat", text, **more) for more in ({}, {"num_ctx": 1}, {"num_ctx": 2})))


def test_every_parameter_of_the_responses_api_is_part_of_the_question(ask: Asking) -> None:
    """BerriAI/litellm#25673: parameters were missing from a list of those that count."""
    labels = {*IGNORED_FIELDS, "stream", "model", "input"}
    fields = sorted(set(get_type_hints(ResponseCreateParamsNonStreaming)) - labels)
    assert len(fields) > 20
    text = ask.fresh()
    bodies = [question("responses", text) | {name: "x"} for name in fields]
    keys = {ask.post("responses", body).headers["headgate-key"] for body in bodies}
    assert len(keys) == len(fields)


def test_the_whole_body_is_the_question_fields_unknown_to_all_included(ask: Asking) -> None:
    """BerriAI/litellm#894, #5049: "include the entire request body", asked in 2023 and 2024."""
    text = ask.fresh()
    extras = ({"x": None}, {"x": {"y": [1]}}, {"x": {"y": [2]}}, {"x": {"y": [1], "z": 0}}, {"": 1})
    answers(ask, *(question("chat", text, **extra) for extra in extras))


def test_a_parameter_that_is_left_out_is_not_its_zero_nor_its_default(ask: Asking) -> None:
    """EleutherAI/lm-evaluation-harness#3897, majiayu000/litellm-rs#505, lunargate-ai/gateway#2,
    Continuum-AI-Corp/OrcaRouter-Lite#84: an omitted temperature was taken for 0."""
    text = ask.fresh()
    answers(ask, *(question("chat", text, **more) for more in (
        {}, {"temperature": 0}, {"temperature": 1}, {"temperature": None}, {"temperature": 0.5},
    )))  # fmt: skip


def test_the_order_of_fields_and_white_space_are_no_part_of_the_question(ask: Asking) -> None:
    """maximhq/bifrost#2791, #3190, #2912: the key followed the order of a map, so that identical
    calls never hit and the store filled up."""
    text, size = ask.fresh(), ask.gate.stats()["cache"]["size"]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = question("chat", text, tools=[tool], logit_bias={"1": 2, "3": 4}, seed=1)
    spellings = [json.dumps(body), json.dumps(body, indent=1), json.dumps(body, sort_keys=True),
                 json.dumps(dict(reversed(body.items())), separators=(",", ":"))]  # fmt: skip
    with ask.upstream(1):
        replies = [ask.post("chat", spelling.encode()) for spelling in spellings]
    assert len({got.body for got in replies}) == 1
    assert ask.gate.stats()["cache"]["size"] == size + 1


def test_no_input_ever_gets_the_vector_of_another_one(ask: Asking) -> None:
    """BerriAI/litellm#29284, #2990: of an array of inputs that was known in part, one got another
    one's vector. Here each input is known by itself, and the array asks for none of them again."""
    client = ask.sync.openai.embeddings
    alone = {}
    for words in ("a", "b", "c"):
        (one,) = client.create(model="m", input=[words], dimensions=8).data
        alone[words] = one.embedding
    assert len({tuple(vector) for vector in alone.values()}) == 3
    for inputs in (["a", "b"], ["b", "a"], ["c", "a", "b"], ["a", "b", "a"]):
        with ask.upstream(0):
            for _ in range(2):
                got = client.create(model="m", input=inputs, dimensions=8).data
                assert [one.index for one in got] == list(range(len(inputs)))
                assert [one.embedding for one in got] == [alone[words] for words in inputs]


def test_identical_repeats_always_hit_and_never_get_each_others_answer(ask: Asking) -> None:
    """BerriAI/litellm#6954, #31610: identical repeats missed, and answers were mixed up."""
    texts = [ask.fresh() for _ in range(20)]
    first = answers(ask, *(question("chat", text) for text in texts))
    assert len(set(first)) == 20
    for order in (texts, texts[::-1], texts[::3] + texts[1::3] + texts[2::3]):
        with ask.upstream(0):
            again = {text: ask.post("chat", question("chat", text)).body for text in order}
        assert [again[text] for text in texts] == first


def test_a_step_of_a_tool_loop_is_never_answered_with_the_step_before(ask: Asking) -> None:
    """BerriAI/litellm-docs#833, litellm#21906: the previous turn of a conversation was replayed."""
    turns: list[dict[str, Any]] = [turn("user", ask.fresh())]
    bodies = []
    for step in range(4):
        bodies.append(chat(*turns))
        function = {"name": "next", "arguments": "{}"}
        call = {"id": f"call_{step}", "type": "function", "function": function}
        turns += [{"role": "assistant", "content": None, "tool_calls": [call]},
                  {"role": "tool", "tool_call_id": call["id"], "content": "done"}]  # fmt: skip
    assert len(set(answers(ask, *bodies))) == 4


def test_a_question_and_its_negation_are_two_questions(ask: Asking) -> None:
    """zilliztech/GPTCache#694, #8: they scored up to 0.9997 in nine encoders, and a conversation
    was answered by its last message."""
    text = ask.fresh()
    pair = [f"{text}: is this safe?", f"{text}: is this not safe?"]
    assert len(set(answers(ask, *(question("chat", words) for words in pair)))) == 2
    last = turn("user", f"{text}: and now?")
    histories = [(turn("user", words), turn("assistant", "Yes."), last) for words in pair]
    assert len(set(answers(ask, chat(last), *(chat(*turns) for turns in histories)))) == 3


def test_numbers_that_differ_and_earlier_messages_count(ask: Asking) -> None:
    """vllm-project/semantic-router#36, #3036: only the last message was looked at, and numbers in
    it made no difference."""
    text = ask.fresh()
    amounts = [question("chat", f"{text}: convert {amount} USD") for amount in (10, 100, 1000)]
    last = turn("user", f"{text}: go on")
    systems = [chat(turn("system", f"You are number {number}."), last) for number in (1, 2)]
    assert len(set(answers(ask, *amounts, *systems))) == 5


def test_the_exact_cache_never_becomes_a_similar_one(ask: Asking, tmp_path: Path) -> None:
    """Portkey-AI/gateway#1237: the exact cache silently became a semantic one, with hits of nearly
    100 %. Here nothing but the very question hits, and a semantic cache is refused, not implied."""
    text = ask.fresh()
    near = [text, f"{text} ", text.upper(), f"{text}?", f"{text}\u200b", text.replace(" ", "  ")]
    assert len(set(answers(ask, *(question("chat", words) for words in near)))) == len(near)
    file = tmp_path / "headgate.toml"
    file.write_text("[cache.semantic]\nenabled = true\n")
    with pytest.raises(ConfigError, match="semantic"):
        Config.load(file)


# Streaming.


def test_reasoning_survives_a_streamed_hit(ask: Asking) -> None:
    """BerriAI/litellm#32068: `reasoning_content` was lost."""
    text, told = ask.fresh(), recording("chat", "reasoning")
    with ask.upstream(1, Answer(chunks=told.events)):
        live, replayed = (readers.STREAMED["iterated"](ask.sync, "chat", text) for _ in range(2))
        whole = readers.WHOLE["created"](ask.sync, "chat", text)
    thoughts = [
        "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
                for chunk in chunks if chunk.choices)
        for chunks in (live, replayed)
    ]  # fmt: skip
    assert thoughts[0] == thoughts[1] == told.whole["choices"][0]["message"]["reasoning_content"]
    assert whole.choices[0].message.reasoning_content == thoughts[0]


def test_a_streamed_response_is_cached(ask: Asking) -> None:
    """BerriAI/litellm#24579: streamed /v1/responses never were."""
    text = ask.fresh()
    with ask.upstream(1):
        live, replayed = (readers.STREAMED["built"](ask.sync, "responses", text) for _ in range(2))
    assert live == replayed


def test_an_async_stream_hits_and_is_no_single_blob(ask: Asking) -> None:
    """BerriAI/litellm#11145: a replay was one blob, and async streams never hit."""
    text = ask.fresh()
    with ask.upstream(1):
        live, replayed = (
            ask.asynchronously(readers.STREAMED_ASYNC["iterated"], "chat", text) for _ in range(2)
        )
    assert live == replayed
    said = [chunk for chunk in replayed if chunk.choices and chunk.choices[0].delta.content]
    assert len(said) > 2


def test_messages_are_cached(ask: Asking) -> None:
    """BerriAI/litellm#25653: there was no cache for /v1/messages."""
    text = ask.fresh()
    with ask.upstream(1):
        live, replayed = (readers.STREAMED["built"](ask.sync, "messages", text) for _ in range(2))
        whole = readers.WHOLE["created"](ask.sync, "messages", text)
    assert live == replayed
    assert comparable(readers.put_together(ask.sync, "messages", text)) == comparable(
        whole.model_dump()
    )


def test_streams_are_written_and_a_hit_is_a_sound_event_stream(ask: Asking) -> None:
    """vllm-project/semantic-router#1555, #913: streams were never written, and a hit broke the
    events."""
    text, told = ask.fresh(), recording("chat", "tools")
    size = ask.gate.stats()["cache"]["size"]
    with ask.upstream(1, Answer(chunks=told.events)):
        ask.post("chat", streamed("chat", text))
        assert ask.gate.stats()["cache"]["size"] == size + 1
        got = ask.post("chat", streamed("chat", text))
    assert hit(got)
    assert split(got.body) == told.events


def test_a_stream_says_that_it_came_from_the_cache(ask: Asking) -> None:
    """maximhq/bifrost#3049: the mark of a hit was lost in streams."""
    text = ask.fresh()
    create = ask.sync.openai.chat.completions.with_raw_response.create
    told = []
    for _ in range(2):
        reply = create(**streamed("chat", text))
        with reply.parse() as stream:
            assert list(stream)
        told.append(reply.headers["cache-status"])
    assert told[0] == "headgate; fwd=miss"
    assert told[1].startswith("headgate; hit; ttl=")


def test_the_stream_method_of_the_sdks_uses_the_cache(ask: Asking) -> None:
    """langchain-ai/langchain#23701, #13119: `.stream()` went round the cache."""
    for operation in ("chat", "responses", "messages"):
        text = ask.fresh()
        with ask.upstream(1):
            first, second = (readers.put_together(ask.sync, operation, text) for _ in range(2))
            sync = readers.STREAMED["built"](ask.sync, operation, text)
            other = ask.asynchronously(readers.STREAMED_ASYNC["built"], operation, text)
        assert first == second
        assert sync == other


# Leaks and accounting.


def as_tenant(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer sk-{name}"}


def test_a_similar_question_of_another_user_is_never_answered_with_ones_own(ask: Asking) -> None:
    """vllm-project/semantic-router#1448, #2134 (CWE-524): one user got another's answer at a
    similarity of 0.9085."""
    text = ask.fresh()
    pair = [f"{text}: my account number is 4711", f"{text}: my account number is 4712"]
    with ask.upstream(2):
        mine = ask.post("chat", question("chat", pair[0]), **as_tenant("anke"))
        theirs = ask.post("chat", question("chat", pair[1]), **as_tenant("bodo"))
    assert mine.body != theirs.body


def test_the_same_question_of_another_user_is_a_call_of_its_own(ask: Asking) -> None:
    """diegosouzapw/OmniRoute#3740: answers leaked between users."""
    text = ask.fresh()
    secrets = [Answer(text="for anke"), Answer(text="for bodo")]
    with ask.upstream(2, *secrets):
        told = {
            (name, shape): ask.post("chat", body("chat", text), **as_tenant(name)).body
            for shape, body in enumerate((streamed, question, streamed))
            for name in ("anke", "bodo")
        }
    for (name, _), body in told.items():
        other = b"bodo" if name == "anke" else b"anke"
        assert name.encode() in body
        assert other not in body


def test_users_behind_one_key_of_the_gateway_are_apart() -> None:
    """wso2/api-platform#733: users of a gateway that has a key of its own shared answers."""
    with asking(key="sk-ours") as ask:
        for name in ("anke", "bodo"):
            with ask.upstream(1):
                ask.post("chat", streamed("chat"), **as_tenant(name))
                assert hit(ask.post("chat", streamed("chat"), **as_tenant(name)))
    assert {call.headers["authorization"] for call in ask.provider.calls} == {"Bearer sk-ours"}


def test_what_callers_say_narrows_the_cache_and_never_widens_it() -> None:
    """maximhq/bifrost#5769: keys shared what a caller named, and a caller could lower the
    threshold."""
    with asking(CacheConfig(shared_namespaces=("public",), ttl=60)) as ask:
        for namespace, name in product(("team", "public-2", "Public"), ("anke", "bodo")):
            headers = {**as_tenant(name), "headgate_namespace": namespace}
            with ask.upstream(1):
                ask.post("chat", question("chat"), **headers)
        with ask.upstream(0):
            for header in ("headgate_threshold", "headgate_cache_key", "headgate_scope"):
                got = ask.post("chat", question("chat"), **{header: "0.1"})
                assert (got.status, got.json["error"]["code"]) == (400, "invalid_request")
        with ask.upstream(1):
            ask.post("chat", streamed("chat"), headgate_ttl="10h")
            ttl = ask.post("chat", streamed("chat")).headers["cache-status"]
    assert ttl in ("headgate; hit; ttl=60", "headgate; hit; ttl=59")


def test_a_hit_adds_no_tokens_and_replays_the_usage_that_clients_read() -> None:
    """BerriAI/litellm#39057: on a hit the spend was 0 and the tokens counted again."""
    with asking() as ask:
        with ask.upstream(1):
            replies = [
                ask.post("chat", body("chat")) for body in (streamed, question, streamed, question)
            ]
        used = replies[1].json["usage"]
        assert replies[3].json["usage"] == used
        assert json.dumps(used["total_tokens"]).encode() in replies[2].body
        row = ask.gate.get("/api/metrics/llm").json["metrics"]["by_model"]["m"]
        assert (row["tokens_in"], row["tokens_out"], row["tokens"]) == (
            used["prompt_tokens"], used["completion_tokens"], used["total_tokens"],
        )  # fmt: skip
        assert (row["calls"], row["cache_hits"]) == (4, 3)
