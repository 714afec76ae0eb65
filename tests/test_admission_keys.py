"""From an HTTP request to a call: what two requests share, and what keeps them apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plans import BODY, OPENAI, plan_of

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.layers.settings import BatchConfig, CacheConfig, ModelCacheConfig


def test_two_names_of_one_target_do_not_share_an_entry() -> None:
    models = {name: ModelConfig(targets=("p/m",)) for name in ("cheap", "fast")}
    config = Config(providers={"p": ProviderConfig()}, models=models)
    keys = {plan_of({**BODY, "model": name}, config).key for name in models}
    assert len(keys) == 2


STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("operation", "more"),
    [(operation, {"stream": value}) for value in (True, False, None)
     for operation in ("chat", "completions", "responses", "messages")]
    + [(operation, STREAM) for operation in ("chat", "completions")],
    ids=str,
)  # fmt: skip
def test_the_shape_of_an_answer_is_not_in_the_key(operation: str, more: dict[str, Any]) -> None:
    config = Config(providers={"p": ProviderConfig(kind="fake")})
    asked = {**BODY, **more}
    assert (
        plan_of(asked, config, operation=operation).key
        == plan_of(BODY, config, operation=operation).key
    )


@pytest.mark.parametrize(
    ("operation", "more"),
    [("chat", {"stream_options": {"include_obfuscation": False}}),
     ("responses", {"stream_options": {"include_usage": True}}),
     ("embeddings", {"stream": False}),
     ("chat", {"stream_options": "x"})],
    ids=str,
)  # fmt: skip
def test_what_else_is_said_about_streams_is_in_the_key(
    operation: str, more: dict[str, Any]
) -> None:
    plain = plan_of(BODY, operation=operation)
    assert plan_of({**BODY, **more}, operation=operation).key != plain.key


def test_whether_usage_is_wanted_is_in_the_key_where_the_gateway_does_not_ask_for_it() -> None:
    config = Config(providers={"openai": ProviderConfig(ask_stream_usage=False)})
    assert plan_of({**BODY, **STREAM}, config).key != plan_of(BODY, config).key


@pytest.mark.parametrize(
    ("operation", "more", "wanted"),
    [("chat", {}, False), ("chat", STREAM, True), ("chat", {"stream_options": None}, False),
     ("chat", {"stream_options": {"include_usage": False}}, False), ("messages", {}, True)],
    ids=str,
)  # fmt: skip
def test_a_plan_knows_whether_the_client_asked_for_usage(
    operation: str, more: dict[str, Any], wanted: bool
) -> None:
    config = Config(providers={"p": ProviderConfig(kind="fake")})
    assert plan_of({**BODY, **more}, config, operation=operation).usage_wanted is wanted


@pytest.mark.parametrize(("count", "choices"), [(3, 3), (None, 1), (0, 1), ("2", 1), (10**9, 1)])
def test_a_plan_knows_how_many_answers_were_asked_for(count: Any, choices: int) -> None:
    assert plan_of({**BODY, "n": count}).choices == choices


def test_callers_share_an_entry_only_in_namespaces_that_the_operator_listed() -> None:
    cache = CacheConfig(shared_namespaces=("faq",))
    config = Config(cache=cache, providers=OPENAI.providers)

    def keys(namespace: str) -> set[bytes]:
        return {
            plan_of(BODY, config, authorization=who, headgate_namespace=namespace).key
            for who in ("Bearer a", "Bearer b")
        }

    assert len(keys("faq")) == 1
    assert len(keys("other")) == 2
    assert not keys("faq") & keys("other")


def test_the_policy_of_a_model_wins_over_the_common_one() -> None:
    cache = CacheConfig(tool_calls=False, models={"m": ModelCacheConfig(tool_calls=True)})
    config = Config(cache=cache, providers=OPENAI.providers)
    assert plan_of(BODY, config).policy.tool_calls
    assert not plan_of({**BODY, "model": "n"}, config).policy.tool_calls


def test_a_stream_of_an_operation_that_has_none_bypasses_the_cache() -> None:
    assert plan_of({**BODY, "stream": True}, operation="embeddings").bypass == "stream"


def embeddings(given: Any, config: Config = OPENAI, **more: Any) -> Any:
    credential = {"authorization": more.pop("authorization")} if "authorization" in more else {}
    body = {"model": "m", "input": given, **more}
    return plan_of(body, config, operation="embeddings", **credential)


@pytest.mark.parametrize(("one", "other"), [("a", ["a"]), ([1, 2], [[1, 2]])])
def test_an_input_alone_and_a_list_with_it_have_one_key(one: Any, other: Any) -> None:
    assert embeddings(one).key == embeddings(other).key
    assert embeddings(one).key != embeddings([one, one]).key
    assert embeddings(one, dimensions=3).key != embeddings(one).key


def test_a_plan_knows_the_inputs_of_embeddings_and_of_nothing_else() -> None:
    assert [embeddings(given).inputs.count for given in ("a", ["a", "b"], [1, 2])] == [1, 2, 1]
    assert embeddings({"text": "a"}).inputs is None
    assert embeddings("a", stream=True).inputs is None
    assert plan_of({"model": "m", "input": "a"}, operation="responses").inputs is None


def test_company_is_of_one_tenant_unless_tenants_are_mixed() -> None:
    mixed = replace(OPENAI, batch=BatchConfig(across_tenants=True))
    for config, are_one in ((OPENAI, False), (mixed, True)):
        alice, bob = (embeddings("a", config, authorization=f"Bearer {name}") for name in "ab")
        assert alice.inputs.prefix != bob.inputs.prefix
        assert (alice.inputs.company == bob.inputs.company) is are_one
        assert alice.key != bob.key
