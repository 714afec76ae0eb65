"""`headgate cache`: what a running gateway keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gates import Gate
from programs import Told, run

CHAT = "/v1/chat/completions"
Command = Callable[..., Told]


@pytest.fixture
def command(gate: Gate, capsys: pytest.CaptureFixture[str]) -> Command:
    """Calls `headgate cache WORDS` on `gate`."""
    return lambda *words: Told(capsys, "cache", *words, "--url", gate.url)


@pytest.fixture
def key(gate: Gate) -> Callable[..., str]:
    """Asks a question and returns the key of its stored answer."""

    def ask(model: str = "m", text: str = "q", **headers: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return gate.post(CHAT, body, named).headers["headgate-key"]

    return ask


Ask = Callable[..., str]


def listed(command: Command, *words: str) -> list[str]:
    """The keys that `ls` names."""
    return [entry["key"] for entry in json.loads(command("ls", "--json", *words).out)["entries"]]


def test_ls_is_a_table_of_answers_with_the_latest_on_top(command: Command, key: Ask) -> None:
    first, second = key("gpt-a"), key("gpt-b", headgate_namespace="shop")
    told = command("ls")
    assert (told.code, told.err) == (0, "")
    header, *rows = told.out.splitlines()
    assert header.split() == [
        "key", "model", "operation", "namespace", "age", "ttl", "bytes", "tokens",
    ]  # fmt: skip
    assert [row.split()[:3] for row in rows] == [
        [second[:16], "gpt-b", "chat"], [first[:16], "gpt-a", "chat"],
    ]  # fmt: skip
    assert "shop" in rows[0]


def test_ls_selects_by_model_and_namespace_and_stops_at_a_limit(command: Command, key: Ask) -> None:
    plain, shop = key("a"), key("a", headgate_namespace="shop")
    other = key("b", headgate_namespace="shop")
    assert listed(command) == [other, shop, plain]
    assert listed(command, "--model", "a") == [shop, plain]
    assert listed(command, "--namespace", "shop") == [other, shop]
    assert listed(command, "--model", "a", "--namespace", "shop") == [shop]
    assert listed(command, "--limit", "1") == [other]
    assert listed(command, "--model", "absent") == []


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "--limit", "0"), ("ls", "--limit", "1001"), ("show",), ("show", "a b"),
        ("show", ""), ("show", "xyz"), ("show", "0" * 65), ("clear", "--older-than", "soon"),
        ("clear", "--older-than", ""), ("clear", "--older-than", "-5m"), ("forget",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_removes_nothing(
    command: Command, key: Ask, words: tuple[str, ...]
) -> None:
    kept = key()
    told = command(*words)
    assert (told.code, told.out) == (2, "")
    assert told.err
    assert listed(command) == [kept]


def test_show_prints_the_answer_and_where_it_came_from(command: Command, key: Ask) -> None:
    wanted = key("gpt-a", headgate_tags="red,blue")
    told = command("show", wanted)
    assert (told.code, told.err) == (0, "")
    about, content = told.out.split("\n\n", 1)
    named = dict(line.split(": ", 1) for line in about.splitlines())
    assert (named["key"], named["model"], named["target"]) == (wanted, "gpt-a", "fake/gpt-a")
    assert {*named["tags"].split(", ")} == {"red", "blue"}
    assert json.loads(content)["object"] == "chat.completion"


def test_show_as_json_is_one_document(command: Command, key: Ask) -> None:
    wanted = key()
    entry = json.loads(command("show", wanted, "--json").out)
    assert entry["key"] == wanted
    assert json.loads(entry["content"])["model"] == "m"


def test_the_beginning_of_a_key_is_enough_in_either_case(command: Command, key: Ask) -> None:
    wanted = key()
    for beginning in (wanted[:1], wanted[:16], wanted[:16].upper(), wanted[:63]):
        assert f"key: {wanted}\n" in command("show", beginning).out


def test_an_ambiguous_beginning_is_refused(command: Command, key: Ask) -> None:
    # Of 17 keys two begin with the same of 16 digits.
    keys = [key(text=str(number)) for number in range(17)]
    first = next(k[0] for k in keys if sum(other[0] == k[0] for other in keys) > 1)
    told = command("show", first)
    count = sum(k[0] == first for k in keys)
    assert (told.code, told.out) == (2, "")
    assert told.err == f"{count} stored answers have keys that begin with {first}\n"


def test_a_key_without_an_answer_fails(command: Command, key: Ask) -> None:
    wanted = key()
    absent = ("0" if wanted[0] != "0" else "1") + wanted[1:]
    for told in (command("show", absent), command("show", absent[:8])):
        assert (told.code, told.out) == (1, "")
        assert absent[:8] in told.err
        assert told.err.count("\n") == 1


def test_clear_removes_everything_and_says_how_much(command: Command, key: Ask) -> None:
    for model in "abc":
        key(model)
    assert command("clear").out == "3 removed\n"
    assert listed(command) == []
    assert command("clear").out == "0 removed\n"


def test_a_dry_run_counts_and_removes_nothing(command: Command, key: Ask) -> None:
    kept = [key("a"), key("b")]
    assert command("clear", "--dry-run").out == "2 would be removed\n"
    told = command("clear", "--dry-run", "--model", "a", "--json")
    assert json.loads(told.out) == {"entries_removed": 1, "dry_run": True}
    assert sorted(listed(command)) == sorted(kept)


def test_clear_removes_what_it_selects_and_no_more(command: Command, key: Ask) -> None:
    plain, shop, other = key("a"), key("a", headgate_namespace="shop"), key("b")
    told = command("clear", "--namespace", "shop", "--json")
    assert json.loads(told.out) == {"entries_removed": 1, "dry_run": False}
    assert listed(command) == [other, plain]
    assert shop not in (other, plain)
    assert command("clear", "--model", "b").out == "1 removed\n"
    assert listed(command) == [plain]
    assert command("clear", "--older-than", "1h").out == "0 removed\n"
    assert command("clear", "--older-than", "0s").out == "1 removed\n"


def test_clear_selects_by_tag_and_by_key(command: Command, key: Ask) -> None:
    tagged, other, third = key("a", headgate_tags="night, shop"), key("b"), key("c")
    assert command("clear", "--tag", "shop", "--dry-run").out == "1 would be removed\n"
    assert json.loads(command("ls", "--tag", "night", "--json").out)["entries"][0]["key"] == tagged
    assert command("clear", "--tag", "shop").out == "1 removed\n"
    assert command("clear", "--key", other, "--dry-run").out == "1 would be removed\n"
    assert command("clear", "--key", other[:20].upper()).out == "1 removed\n"
    assert listed(command) == [third]
    assert command("clear", "--key", "xyz").code == 2


def test_stats_of_the_cache_are_told(command: Command, key: Ask) -> None:
    key()
    key()
    told = command("stats")
    assert told.out.startswith("hit rate 50.0%, 1 entries in memory\ncache\n")
    document = json.loads(command("stats", "--json").out)
    assert (document["hits"], document["size"]) == (1, 1)


def test_text_of_an_answer_cannot_steer_the_terminal(
    gate: Gate, command: Command, key: Ask
) -> None:
    wanted = key("evil\x1b]0;title\x07")
    assert "\x1b" not in command("show", wanted).out + command("ls").out


def test_a_pipe_gets_the_same_from_the_command_itself(
    gate: Gate, command: Command, key: Ask, tmp_path: Path
) -> None:
    wanted = key()
    done = run("cache", "ls", "--json", cwd=tmp_path, HEADGATE_URL=gate.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [entry["key"] for entry in json.loads(done.stdout)["entries"]] == [wanted]
