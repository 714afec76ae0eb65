"""Models that lead nowhere, in a circle, or to somebody whom a credential is not meant for."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.config_file_routes import broken_routes
from headgate.config_file_text import Expanded

PROVIDERS: dict[str, Any] = {
    "a": {"api_key": "x"},
    "b": {"api_keys": ["x"]},
    "open": {},
    "free": {"kind": "openai"},
    "fake": {"kind": "fake"},
}


def broken(models: Any, providers: Any = None) -> list[tuple[str, str]]:
    tree = {"providers": PROVIDERS if providers is None else providers, "models": models}
    return [(".".join(path), message) for path, message in broken_routes(tree)]


@pytest.mark.parametrize(
    "models",
    [
        {},
        {"m": {"targets": ["a/m"]}},
        {"m": {"targets": ["a/m=3", "b/m=0.5", "fake/m"]}},
        {"m": {"targets": ["a/m"], "fallbacks": ["n", "b/x"]}, "n": {"targets": ["b/n"]}},
        {"m": {"targets": ["a/m"], "context_fallbacks": ["n"]}, "n": {"targets": ["b/n"]}},
        {"m": {"targets": ["a/m=x", "a/m=v1.2-b"]}},
        {"m": {"targets": ["open/m", "a/m", "open/n", "fake/m"]}},
        {"m": {"targets": ["a/m"], "fallbacks": ["n"]},
         "n": {"targets": ["a/n"], "context_fallbacks": ["m"]}},
    ],
    ids=range(8),
)  # fmt: skip
def test_what_leads_somewhere_is_accepted(models: Any) -> None:
    assert broken(models) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("c/x", 'no provider for "c/x"; configured: a, b, open, free, fake'),
        ("x", "expected PROVIDER/MODEL"),
        *(
            (f"a/m={weight}", "a weight is PROVIDER/MODEL=3")
            for weight in (
                "0",
                "nan",
                "-1",
                "+3",
                "1e3",
                "inf",
                "0,5",
                "50%",
                "0x2",
                "1_0",
                "",
                " 3",
            )
        ),
        ("a/x =3", "expected PROVIDER/MODEL"),
        ("a/ x", "expected PROVIDER/MODEL"),
        ("a/m", 'names "a/m" more than once'),
        ("a/m=2", 'names "a/m=2" more than once'),
        (Expanded("s3cret"), "expected PROVIDER/MODEL"),
        (Expanded("s3cret/x"), "no provider for"),
    ],
)
def test_a_target_names_a_configured_provider(target: str, message: str) -> None:
    ((path, found),) = broken({"m": {"targets": ["a/m", target]}})
    assert path == "models.m.targets"
    assert message in found
    assert "s3cret" not in found


def test_a_model_names_a_target() -> None:
    assert broken({"m": {"targets": []}}) == broken({"m": {"reasoning": True}})
    assert broken({"m": {}}) == [
        ("models.m.targets", "names no target: write PROVIDER/MODEL"),
    ]
    assert "configured: none" in broken({"m": {"targets": ["a/x"]}}, {})[0][1]


KINDS = ["fallbacks", "context_fallbacks", "content_fallbacks"]


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("zzz", 'no such model: "zzz"; configured: m, or write PROVIDER/MODEL'),
        ("c/x", "no such model"),
        ("m", "names the model itself"),
        ("a/x=3", "only targets have weights"),
        ("a/x=nan", "only targets have weights"),
        (Expanded("s3cret"), "no such model"),
    ],
)
def test_a_stand_in_is_another_model(key: str, other: str, message: str) -> None:
    ((path, found),) = broken({"m": {"targets": ["a/m"], key: [other]}})
    assert path == f"models.m.{key}"
    assert message in found
    assert "s3cret" not in found


@pytest.mark.parametrize("key", KINDS)
def test_a_stand_in_is_named_once(key: str) -> None:
    models = {"m": {"targets": ["a/m"], key: ["n", "b/x", "n"]}, "n": {"targets": ["a/n"]}}
    assert broken(models) == [(f"models.m.{key}", 'names "n" more than once')]


@pytest.mark.parametrize("key", KINDS)
def test_stand_ins_do_not_go_in_circles(key: str) -> None:
    models = {
        "m": {"targets": ["a/m"], key: ["n"]},
        "n": {"targets": ["a/n"], key: ["a/x", "o"]},
        "o": {"targets": ["a/o"], key: ["m"]},
        "p": {"targets": ["a/p"], key: ["m"]},
    }
    found = broken(models)
    assert [path for path, _ in found] == [f"models.{name}.{key}" for name in "mno"]
    assert found[0][1] == "leads back to itself: m -> n -> o -> m"


def test_a_long_chain_of_stand_ins_is_looked_through() -> None:
    models = {
        f"m{i}": {"targets": ["a/m"], "fallbacks": [f"m{j}" for j in range(i + 1, 60)]}
        for i in range(60)
    }
    assert broken(models) == []


@pytest.mark.parametrize(
    "models",
    [
        {"m": {"targets": ["open/m", "free/m"]}},
        {"m": {"targets": ["open/m"], "fallbacks": ["free/x"]}},
        {"m": {"targets": ["open/m"], "context_fallbacks": ["n"]}, "n": {"targets": ["free/n"]}},
    ],
)
def test_a_clients_credential_is_not_sent_to_two_providers(models: Any) -> None:
    ((path, message),) = broken(models)
    assert path == "models.m"
    assert "(open, free): a client's credential would go to each" in message
    assert "set their api_key" in message


@pytest.mark.parametrize(
    "models", [1, {"m": 1}, {"m": {"targets": 5}}, {"m": {"targets": ["a/m"], "fallbacks": 5}},
               {"m": {"targets": [5, "a/m"], "fallbacks": [5]}}],
)  # fmt: skip
def test_values_of_a_wrong_type_are_left_to_the_model(models: Any) -> None:
    assert broken(models) == []
