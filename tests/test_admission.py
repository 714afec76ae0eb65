"""From an HTTP request to a call: what is forwarded, who shares, where it leads, its key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import BODY, OPENAI, head_of, plan_of

from headgate.admission import (
    HEADS_MAX,
    PLANS_MAX,
    PREFIX_BYTES_MAX,
    PREFIXES_MAX,
    QUERY_BYTES_MAX,
    Admission,
    endpoint,
)
from headgate.admission_head import HEADER_BYTES_MAX, HEADERS_MAX, read_head
from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.errors import BadRequest, UnknownModel
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.types import OPERATIONS, Route, Target, WireRequest

BOTH = Config(
    providers={
        "openai": ProviderConfig(),
        "azure": ProviderConfig(base_url="https://azure.example/v1"),
        "claude": ProviderConfig(kind="anthropic"),
    },
    models={
        "gpt-4o": ModelConfig(targets=("azure/gpt-4o-eu", "openai/gpt-4o")),
        "a/b": ModelConfig(targets=("openai/c/d",)),
        "sonnet": ModelConfig(targets=("claude/claude-sonnet",)),
    },
)


@pytest.mark.parametrize("name", ["", None, 5, ["m"], "m" * 501], ids=lambda name: str(name)[:9])
def test_what_is_no_name_of_a_model_is_refused(name: Any) -> None:
    with pytest.raises(BadRequest, match='"model" must be a'):
        plan_of({**BODY, "model": name})
    assert plan_of({**BODY, "model": "m" * 500}).model == "m" * 500


DIFFERENT = {
    "authorization": {"authorization": "Bearer b"},
    "no credential": {"authorization": ""},
    "kind of credential": {"x_api_key": "Bearer a"},
    "namespace": {"headgate_namespace": "n"},
    "behaviour": {"openai_beta": "v2"},
}


@pytest.mark.parametrize("headers", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_callers_and_behaviours_do_not_share_a_key(headers: dict[str, str]) -> None:
    usual = {"authorization": "Bearer a"}
    assert plan_of(BODY, **{**usual, **headers}).key != plan_of(BODY, **usual).key


@pytest.mark.parametrize(
    "headers",
    [{"user_agent": "x"}, {"traceparent": "00-x"}, {"idempotency_key": "x"}, {"headgate_ttl": "5m"},
     {"cache_control": "max-age=5"}, {"x_stainless_retry_count": "1"}, {"headgate_tags": "a"}],
    ids=str,
)  # fmt: skip
def test_what_changes_from_try_to_try_is_not_in_the_key(headers: dict[str, str]) -> None:
    assert plan_of(BODY, **headers).key == plan_of(BODY).key


def test_a_query_string_is_in_the_key() -> None:
    keys = {plan_of(BODY, query=query).key for query in (b"", b"api-version=1", b"api-version=2")}
    assert len(keys) == 3


def test_the_credential_itself_is_in_neither_key_nor_scope() -> None:
    plan = plan_of(BODY, authorization="Bearer sk-secret")
    assert b"sk-secret" not in repr(plan).encode()


def test_two_tokens_with_a_long_equal_beginning_have_two_scopes() -> None:
    left, right = "Bearer " + "x" * 64 + "a", "Bearer " + "x" * 64 + "b"
    assert plan_of(BODY, authorization=left).scope != plan_of(BODY, authorization=right).scope


ADMISSION = Admission(OPENAI)


@settings(max_examples=100)
@given(st.text(max_size=8), st.booleans(), st.sampled_from([None, 2]))
def test_the_quick_way_by_raw_bytes_and_the_long_way_lead_to_the_same_plan(
    text: str, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps({**BODY, "x": text}, ensure_ascii=ascii_only, indent=indent).encode()
    head = head_of(authorization="Bearer a")
    first = ADMISSION.plan("chat", head, body)
    assert ADMISSION.plan("chat", head, body) is first
    assert Admission(OPENAI).plan("chat", head, body) == first


def test_the_same_bytes_for_another_operation_or_caller_are_another_plan() -> None:
    admission = Admission(OPENAI)
    body = json.dumps({**BODY, "input": "q"}).encode()
    plans = [
        admission.plan(operation, head, body, query)
        for operation in ("chat", "responses")
        for head in (head_of(), head_of(authorization="a"), head_of(openai_beta="x"))
        for query in (b"", b"a=1")
    ]
    assert len({plan.key for plan in plans}) == len(plans)


def test_remembered_plans_are_bounded() -> None:
    admission = Admission(OPENAI)
    head = head_of()
    for number in range(PLANS_MAX + 10):
        admission.plan("embeddings", head, b'{"model": "m", "input": "%d"}' % number)
    assert len(admission._plans) == PLANS_MAX


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"y" * HEADER_BYTES_MAX)],
        [(b"x-%d" % number, b"") for number in range(HEADERS_MAX + 1)],
        [(b"authorization", b"y" * (HEADER_BYTES_MAX // 2)), (b"x" * HEADER_BYTES_MAX, b"")],
    ],
)
def test_too_many_or_too_large_headers_are_431_and_not_remembered(headers: Any) -> None:
    admission = Admission(OPENAI)
    with pytest.raises(BadRequest, match="at most 100 headers of 32768 bytes") as caught:
        admission.head(headers)
    assert (caught.value.status_hint, caught.value.code) == (431, "headers_too_large")
    assert admission._heads == {}


def test_headers_at_the_limit_are_accepted() -> None:
    read_head([(b"x-%02d" % number, b"y" * 300) for number in range(HEADERS_MAX)])
    read_head([(b"x-a", b"y" * (HEADER_BYTES_MAX - 3))])


def test_a_query_over_the_limit_is_414() -> None:
    plan_of(BODY, query=b"y" * QUERY_BYTES_MAX)
    with pytest.raises(BadRequest, match="longer than 8192 bytes") as caught:
        plan_of(BODY, query=b"y" * (QUERY_BYTES_MAX + 1))
    assert (caught.value.status_hint, caught.value.code) == (414, "query_too_long")


def test_what_is_remembered_of_callers_is_bounded_in_bytes() -> None:
    admission = Admission(OPENAI)
    content = json.dumps(BODY).encode()
    for number in range(HEADS_MAX + 50):
        large = b"%d" % number + b"y" * (HEADER_BYTES_MAX // 3)
        head = admission.head([(b"authorization", large), (b"openai-beta", large)])
        plan = admission.plan("chat", head, content, b"y" * QUERY_BYTES_MAX)
        assert plan == admission.plan("chat", head, content, b"y" * QUERY_BYTES_MAX)
    assert len(admission._heads) == HEADS_MAX
    assert admission._prefixes == {}
    for number in range(PREFIXES_MAX + 50):
        admission.plan("chat", head_of(authorization=f"Bearer {number}"), content)
    assert len(admission._prefixes) == PREFIXES_MAX
    assert max(len(prefix) for prefix, _ in admission._prefixes.values()) < PREFIX_BYTES_MAX


def test_a_refused_body_is_refused_again() -> None:
    admission = Admission(OPENAI)
    for _ in range(2):
        with pytest.raises(BadRequest):
            admission.plan("chat", head_of(), b'{"model": "m", "model": "m"}')


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["num_ctx", "seed", "n", "tools", "x_new", "reasoning_effort"])
def test_every_field_of_the_body_reaches_the_key(operation: str, name: str) -> None:
    config = Config(providers={"fake": ProviderConfig(kind="fake")})
    keys = {
        plan_of(body, config, operation=operation).key
        for body in (BODY, {**BODY, name: None}, {**BODY, name: 1}, {**BODY, name: [2]})
    }
    assert len(keys) == 4


def test_end_users_are_kept_apart_only_on_request() -> None:
    ann, bob = {**BODY, "user": "ann"}, {**BODY, "user": "bob"}
    assert plan_of(ann).key == plan_of(bob).key
    by_user = Config(providers=OPENAI.providers, cache=CacheConfig(scope="user"))
    assert plan_of(ann, by_user).key != plan_of(bob, by_user).key


@pytest.mark.parametrize(
    ("asked", "model", "target"),
    [
        ("gpt-4o", "gpt-4o", Target("azure", "gpt-4o-eu")),
        ("a/b", "a/b", Target("openai", "c/d")),
        ("openai/gpt-4o", "gpt-4o", Target("openai", "gpt-4o")),
        ("azure/any", "any", Target("azure", "any")),
        ("openai/org/model", "org/model", Target("openai", "org/model")),
    ],
)
def test_a_name_leads_to_its_target(asked: str, model: str, target: Target) -> None:
    name, routes = Admission(BOTH).resolve(asked, "chat")
    assert (name, routes[0].target) == (model, target)


def test_an_unlisted_name_goes_to_the_only_provider_that_speaks_the_dialect() -> None:
    assert Admission(OPENAI).resolve("org/m", "chat") == (
        "org/m",
        (Route(Target("openai", "org/m")),),
    )
    assert Admission(BOTH).resolve("c", "messages") == ("c", (Route(Target("claude", "c")),))
    with pytest.raises(UnknownModel):
        Admission(BOTH).resolve("c", "chat")


@pytest.mark.parametrize(
    ("asked", "operation", "words"),
    [
        ("gpt-4", "chat", "did you mean 'gpt-4o'"),
        ("zzz", "chat", "configured models: a/b, gpt-4o, sonnet"),
        ("zzz", "chat", "name the provider: openai/MODEL, azure/MODEL"),
        ("sonnet", "chat", "'claude' of kind 'anthropic', which does not answer chat"),
        ("claude/x", "embeddings", "does not answer embeddings"),
        ("x" * 5000, "chat", "not configured"),
    ],
)
def test_an_unknown_name_is_told_what_is_configured(asked: str, operation: str, words: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        Admission(BOTH).resolve(asked, operation)
    assert words in caught.value.message
    assert len(caught.value.message) < 600


def test_the_same_name_after_a_change_of_its_target_has_another_key() -> None:
    def routed(provider: ProviderConfig, target: str = "p/m") -> bytes:
        models = {"m": ModelConfig(targets=(target,))}
        return plan_of(BODY, Config(providers={"p": provider}, models=models)).key

    keys = {
        routed(ProviderConfig()),
        routed(ProviderConfig(base_url="https://elsewhere/v1")),
        routed(ProviderConfig(), "p/m2"),
        routed(ProviderConfig(kind="fake")),
    }
    assert len(keys) == 4


def test_a_prefix_names_the_same_question() -> None:
    assert plan_of({**BODY, "model": "openai/m"}).key == plan_of(BODY).key


RAW = (
    b'{ "z" : 1.0e0, "model": "openai\\/m" ,\n "messages":[ {"role":"user", "content":"\\u00e9"} ],'
    b' "metadata": {"b": 1, "a": [ ]}, "x": 1e5 }'
)


def forwarded_body(body: bytes, config: Config = OPENAI) -> bytes:
    admission = Admission(config)
    plan = admission.plan("chat", head_of(), body)
    request = admission.call("/chat/completions", head_of(), body, plan).request
    assert isinstance(request, WireRequest)
    return request.body


def test_a_body_is_forwarded_byte_for_byte() -> None:
    body = RAW.replace(b"openai\\/", b"")
    assert forwarded_body(body) is body


def test_a_prefix_is_taken_off_and_every_other_byte_stays() -> None:
    assert forwarded_body(RAW) == RAW.replace(b"openai\\/m", b"m")


@pytest.mark.parametrize(
    "inner",
    [b'"m\\u006fdel": "openai/m"', b'"x": {"model": "openai/m"}, "model": "openai/m"',
     b'"x": "\\"model\\": \\"openai/m\\"", "model": "openai/m"',
     b'"x": [' + b'{"model": "openai/m"},' * 50 + b'1], "model": "openai/m"',
     b'"x": {"model": "openai/m"}, "m\\u006fdel": "openai/m"'],
    ids=["escaped key", "inner model before", "model in a text", "many inner models",
         "inner model and escaped key"],
)  # fmt: skip
def test_only_the_requests_own_model_is_renamed(inner: bytes) -> None:
    body = b"{" + inner + b', "y": 1.50e0}'
    sent = forwarded_body(body)
    assert json.loads(sent) == {**json.loads(body), "model": "m"}
    assert b"1.50e0" in sent


def test_a_name_with_quotes_in_it_is_renamed_whole() -> None:
    sent = forwarded_body(b'{"\\"model": "openai/m", "model": "openai/a\\"b", "x": 1.0}')
    assert sent == b'{"\\"model": "openai/m", "model": "a\\"b", "x": 1.0}'


def test_a_listed_model_is_sent_under_its_targets_name() -> None:
    assert json.loads(forwarded_body(b'{"model": "gpt-4o"}', BOTH)) == {"model": "gpt-4o-eu"}


@pytest.mark.parametrize(("wanted", "ttl_s"), [("5m", 300.0), ("7d", 7200.0), ("", 7200.0)])
def test_time_to_live_is_the_models_and_the_caller_may_shorten_it(
    wanted: str, ttl_s: float
) -> None:
    cache = CacheConfig(ttl=60, models={"m": ModelCacheConfig(ttl=7200)})
    admission = Admission(Config(cache=cache, providers=OPENAI.providers))
    head = head_of(headgate_ttl=wanted) if wanted else head_of()
    body = json.dumps(BODY).encode()
    plan = admission.plan("chat", head, body)
    assert admission.call("/x", head, body, plan).ttl_s == ttl_s
    assert (
        plan_of(
            {**BODY, "model": "n"}, Config(cache=cache, providers=OPENAI.providers)
        ).policy.ttl_s
        == 60
    )


@pytest.mark.parametrize(
    ("more", "bypass"),
    [({}, ""), ({"stream": False}, ""), ({"stream": None}, ""), ({"stream": True}, ""),
     ({"background": True}, "background"), ({"store": True, "stream": True}, "server_state")],
)  # fmt: skip
def test_a_plan_says_why_the_cache_is_not_consulted(more: dict[str, Any], bypass: str) -> None:
    assert plan_of({**BODY, **more}).bypass == bypass


@pytest.mark.parametrize(
    ("more", "explicit"),
    [({}, False), ({"max_tokens": 5}, True), ({"max_completion_tokens": 5}, True),
     ({"max_output_tokens": 5}, True), ({"max_tokens": None}, False)],
)  # fmt: skip
def test_a_plan_knows_whether_the_request_limits_its_own_answer(
    more: dict[str, Any], explicit: bool
) -> None:
    assert plan_of({**BODY, **more}).limit_explicit is explicit


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, '"model" must be'), ({"model": 5}, '"model" must be'), ({"model": ""}, '"model" must be'),
     ({"model": "m", "stream": "yes"}, '"stream" must be true or false'), ([], "an array")],
)  # fmt: skip
def test_an_ill_typed_body_is_refused_and_says_what_would_be_right(body: Any, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        plan_of(body)


def test_an_endpoint_is_shown_as_people_know_it() -> None:
    assert endpoint(BOTH, "azure") == "https://azure.example/v1"
    assert endpoint(BOTH, "claude") == "https://api.anthropic.com"
    assert endpoint(Config(providers={"f": ProviderConfig(kind="fake")}), "f") == "built in"
