"""Requests of SDKs in this process: what is considered, where it goes, under which key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.admission import Admission, Plan
from headgate.admission_head import read_head
from headgate.admission_relay import (
    VOLATILE_HEADERS,
    Address,
    RelayAdmission,
    address_of,
    plain_url,
    relay_head,
)
from headgate.config import Config, ProviderConfig
from headgate.errors import BadRequest
from headgate.layers.settings import IGNORED_FIELDS
from headgate.types import WireRequest

JSON = (b"content-type", b"application/json")
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
CHAT = "https://api.example/v1/chat/completions"


def address(url: str = CHAT, *headers: tuple[bytes, bytes], method: str = "POST") -> Address | None:
    return address_of(method, url, (JSON, *headers))


def plan_of(
    body: Any = BODY, url: str = CHAT, config: Config | None = None, **headers: str
) -> Plan:
    where = address(url)
    assert where is not None
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    admission = RelayAdmission(config or Config(), where)
    return admission.plan(where.operation, relay_head(tuple(named)), content, where.query)


@pytest.mark.parametrize(
    ("url", "operation", "kind", "base_url", "path"),
    [
        (CHAT, "chat", "openai", "https://api.example/v1", "/chat/completions"),
        ("https://A.example:443/completions", "completions", "openai", "https://a.example",
         "/completions"),
        ("http://a:8000/x/v1/responses?a=b", "responses", "openai", "http://a:8000/x/v1",
         "/responses"),
        ("https://a/v1/embeddings", "embeddings", "openai", "https://a/v1", "/embeddings"),
        ("https://a/anthropic/v1/messages", "messages", "anthropic", "https://a/anthropic",
         "/messages"),
        ("https://x.azure.example/openai/deployments/d/chat/completions?api-version=2024-10-21",
         "chat", "openai", "https://x.azure.example/openai/deployments/d", "/chat/completions"),
        ("http://[::1]:80/v1/chat/completions", "chat", "openai", "http://[::1]/v1",
         "/chat/completions"),
        ("https://u:p@a/v1/embeddings", "embeddings", "openai", "https://a/v1", "/embeddings"),
    ],
)  # fmt: skip
def test_a_known_operation_is_found_at_any_address(
    url: str, operation: str, kind: str, base_url: str, path: str
) -> None:
    found = address(url)
    query = url.partition("?")[2].encode()
    assert found == Address(operation, kind, base_url, path, query)


def test_google_names_the_model_and_the_stream_in_the_path() -> None:
    whole = address("https://g.example/v1beta/models/gemini-x:generateContent")
    assert whole == Address(
        "generate", "google", "https://g.example/v1beta/models", "/gemini-x:generateContent", b"",
        "gemini-x", False,
    )  # fmt: skip
    stream = address("https://g.example/v1beta/models/gemini-x:streamGenerateContent?alt=sse")
    assert stream is not None
    assert (stream.model, stream.is_streamed, stream.query) == ("gemini-x", True, b"alt=sse")
    assert address("https://g.example/v1beta/models/gemini-x:streamGenerateContent") is None


@pytest.mark.parametrize(
    "url",
    [
        "https://a/v1/models", "https://a/v1/files", "https://a/v1/images/generations",
        "https://a/v1/threads/thread_1/messages", "https://a/v1/messages/count_tokens",
        "https://a/v1/messages/batches", "https://a/v1/responses/resp_1/cancel",
        "https://a/v1/chat/completions/", "https://a/v1/audio/speech", "https://a/",
        "https://a/v1beta/models/x:countTokens", "https://a/v1beta/models/x:embedContent",
        "https://a/v1/batchembeddings",
    ],
)  # fmt: skip
def test_everything_else_is_no_call(url: str) -> None:
    assert address(url) is None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "post"])
def test_only_a_post_is_a_call(method: str) -> None:
    assert address(method=method) is None


@pytest.mark.parametrize(
    "headers",
    [
        ((b"content-type", b"multipart/form-data; boundary=x"),),
        (),
        (JSON, (b"content-encoding", b"gzip")),
        (JSON, (b"authorization", b"AWS4-HMAC-SHA256 Credential=a")),
    ],
)
def test_what_is_not_plain_unsigned_json_is_no_call(headers: Any) -> None:
    assert address_of("POST", CHAT, headers) is None


def test_all_headers_go_out_as_they_are_but_for_controls() -> None:
    sent = (
        (b"Host", b"a"), (b"Authorization", b"Bearer k"), (b"X-Stainless-Lang", b"python"),
        (b"OpenAI-Project", b"p"), (b"User-Agent", b"sdk"),
    )  # fmt: skip
    head = relay_head((*sent, (b"Cache-Control", b"no-cache"), (b"Headgate-Namespace", b"n")))
    assert head.forwarded == sent
    assert head.credential == ((b"authorization", b"Bearer k"),)
    assert head.behaviour == ((b"openai-project", b"p"),)
    assert (head.controls.may_read, head.controls.namespace) == (False, "n")
    with pytest.raises(BadRequest, match="headgate-ttl"):
        relay_head(((b"headgate-ttl", b"soon"),))


@pytest.mark.parametrize("name", ["authorization", "x_api_key", "api_key", "x_goog_api_key"])
def test_each_providers_credential_makes_the_scope(name: str) -> None:
    scopes = {plan_of(**{name: key}).scope for key in ("a", "b")}
    keys = {plan_of(**{name: key}).key for key in ("a", "b", "a")}
    assert (len(scopes), len(keys)) == (2, 2)


VOLATILE = [*sorted(name.decode() for name in VOLATILE_HEADERS), "x-stainless-retry-count",
            "x-stainless-read-timeout", "x-b3-traceid", "x-datadog-parent-id"]  # fmt: skip


@pytest.mark.parametrize("name", VOLATILE)
def test_what_changes_with_every_try_is_not_in_the_key(name: str) -> None:
    assert plan_of(**{name: "1"}).key == plan_of(**{name: "2"}).key == plan_of().key


@pytest.mark.parametrize(
    "name",
    ["anthropic-version", "anthropic-beta", "openai-beta", "openai-organization", "openai-project",
     "x-portkey-config", "http-referer", "cookie", "x-unknown"],
)  # fmt: skip
def test_every_other_header_is_in_the_key(name: str) -> None:
    keys = {plan_of(**{name: "1"}).key, plan_of(**{name: "2"}).key, plan_of().key}
    assert len(keys) == 3


def test_what_is_accepted_is_in_the_key_only_where_it_is_unusual() -> None:
    usual = {plan_of(accept=kind).key for kind in ("*/*", "application/json", "text/event-stream")}
    assert usual == {plan_of().key}
    assert plan_of(accept="application/xml").key not in usual


def test_address_and_query_are_in_the_key() -> None:
    urls = [CHAT, "https://b.example/v1/chat/completions", CHAT.replace("https", "http"),
            CHAT.replace("/v1", "/v2"), CHAT + "?api-version=1", CHAT + "?api-version=2",
            CHAT.replace("example", "example:8443")]  # fmt: skip
    assert len({plan_of(url=url).key for url in urls}) == len(urls)
    assert plan_of(url=CHAT.replace("example", "EXAMPLE:443")).key == plan_of().key


@pytest.mark.parametrize("base_url", ["https://api.example/v1", "https://API.example:443/v1/"])
def test_a_configured_provider_gives_the_key_of_the_gateway(base_url: str) -> None:
    config = Config(providers={"p": ProviderConfig(base_url=base_url)})
    content = json.dumps(BODY).encode()
    gate = Admission(config).plan("chat", read_head([(b"authorization", b"k")]), content)
    plan = plan_of(config=config, authorization="k", x_stainless_lang="python")
    assert (plan.key, plan.scope, plan.target) == (gate.key, gate.scope, gate.target)
    assert plan.target.name == "p/m"
    assert plan_of(authorization="k").key != gate.key


def test_the_vendors_own_address_needs_no_base_url() -> None:
    config = Config(providers={"gpt": ProviderConfig(), "claude": ProviderConfig(kind="anthropic")})
    chat = plan_of(url="https://api.openai.com/v1/chat/completions", config=config)
    message = plan_of(url="https://api.anthropic.com/v1/messages", config=config)
    assert [plan.target.provider for plan in (chat, message)] == ["gpt", "claude"]
    assert plan_of(url=CHAT, config=config).target.provider == "api.example"


def test_the_model_is_taken_as_it_is_spelt() -> None:
    config = Config(providers={"openai": ProviderConfig()})
    url = "https://openrouter.example/api/v1/chat/completions"
    plan = plan_of({**BODY, "model": "openai/gpt-4o"}, url, config)
    assert (plan.model, plan.target.model, plan.asked) == ("openai/gpt-4o",) * 3


def test_a_model_in_the_path_needs_none_in_the_body() -> None:
    url = "https://g.example/v1beta/models/gemini-x:generateContent"
    body = {"contents": [{"parts": [{"text": "q"}]}],
            "generationConfig": {"maxOutputTokens": 5}}  # fmt: skip
    plan = plan_of(body, url)
    assert (plan.model, plan.bypass, plan.streamed, plan.limit_explicit) == (
        "gemini-x", "", False, True,
    )  # fmt: skip
    stream = plan_of(body, url.replace("generateC", "streamGenerateC") + "?alt=sse")
    other = plan_of(body, url.replace("gemini-x", "gemini-y"))
    assert (stream.streamed, stream.bypass) == (True, "")
    assert len({plan.key, stream.key, other.key}) == 3


@pytest.mark.parametrize(
    ("more", "bypass"),
    [
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://a/b"}}]}]}, "remote_media"),
        ({"contents": [{"parts": [{"file_data": {"file_uri": "gs://a/b"}}]}]}, "remote_media"),
        ({"tools": [{"googleSearch": {}}]}, "hosted_tools"),
        ({"cachedContent": "cachedContents/1"}, "server_state"),
        ({"generationConfig": {"temperature": 1.5}}, ""),
    ],
    ids=str,
)
def test_what_google_would_look_up_elsewhere_is_not_cached(more: Any, bypass: str) -> None:
    url = "https://g.example/v1beta/models/gemini-x:generateContent"
    assert plan_of({"contents": [{"parts": [{"text": "q"}]}], **more}, url).bypass == bypass


def test_both_shapes_of_one_question_share_a_key_where_the_stream_tells_everything() -> None:
    stream = {**BODY, "stream": True}
    told = {**stream, "stream_options": {"include_usage": True}}
    assert plan_of(told).key == plan_of().key
    assert plan_of(stream).key != plan_of().key
    url = "https://a.example/v1/messages"
    assert plan_of(stream, url).key == plan_of(url=url).key
    assert all(plan_of(body).usage_wanted for body in (BODY, stream, told))


@pytest.mark.parametrize("asks", [True, False])
def test_streams_have_the_key_of_a_gateway_that_would_send_them_alike(asks: bool) -> None:
    provider = ProviderConfig(base_url="https://api.example/v1", ask_stream_usage=asks)
    config = Config(providers={"p": provider})
    stream = {**BODY, "stream": True}
    told = {**stream, "stream_options": {"include_usage": True}}
    gate = [Admission(config).plan("chat", read_head([]), json.dumps(body).encode()).key
            for body in (BODY, stream, told)]  # fmt: skip
    mine = [plan_of(body, config=config).key for body in (BODY, stream, told)]
    assert (mine[0], mine[2]) == (gate[0], gate[2])
    assert mine[1] not in gate
    assert (mine[2] == mine[0]) == asks


def test_the_call_says_how_it_is_sent() -> None:
    where = address()
    assert where is not None
    admission, head = RelayAdmission(Config(), where), relay_head(((b"X-Mine", b"1"),))
    body = json.dumps(BODY).encode()

    async def send(request: WireRequest) -> Any:
        raise AssertionError

    call = admission.call(where.path, head, body, admission.plan("chat", head, body), send)
    assert isinstance(call.request, WireRequest)
    assert (call.request.send, call.request.body) == (send, body)
    assert call.request.headers == ((b"X-Mine", b"1"),)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m","model":"n"}', b"{}", b'{"model":5}'])
def test_a_body_that_cannot_be_judged_is_refused_here(body: bytes) -> None:
    with pytest.raises(BadRequest):
        plan_of(body)


@pytest.mark.parametrize("url", ["https://a.example/v1/", "https://A.example:443/v1"])
def test_a_base_url_has_one_spelling(url: str) -> None:
    assert plain_url(url) == "https://a.example/v1"


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=5)
_SHAPE = {*IGNORED_FIELDS, "stream", "model", "messages"}


@settings(max_examples=150)
@given(FIELDS, NAMES, VALUES)
def test_every_change_of_a_body_field_changes_the_key(
    fields: dict[str, Any], name: str, value: Any
) -> None:
    if name in _SHAPE or fields.get(name, value) is not value:
        return
    before = {**{key: fields[key] for key in fields if key not in _SHAPE}, **BODY}
    before.pop(name, None)
    assert plan_of(before).key != plan_of({**before, name: value}).key


@settings(max_examples=100)
@given(FIELDS)
def test_order_and_white_space_do_not_change_the_key(fields: dict[str, Any]) -> None:
    body = {**{key: fields[key] for key in fields if key not in _SHAPE}, **BODY}
    turned = json.dumps(dict(reversed(body.items())), indent=2).encode()
    assert plan_of(turned).key == plan_of(body).key


@pytest.mark.parametrize("name", IGNORED_FIELDS)
def test_labels_for_the_provider_stay_out_of_the_key(name: str) -> None:
    assert plan_of({**BODY, name: {"a": "b"}}).key == plan_of().key
