"""`headgate keys`: made and shown once, listed without secrets, ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from keyring import NANOS
from programs import Told, forget_settings, run

from headgate.core.client import read_key
from headgate.stores.keys import KeyStore

Captured = pytest.CaptureFixture[str]
CREATE = ("keys", "create", "--tenant", "acme", "--model", "*")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(capsys: Captured, *words: str) -> list[dict[str, Any]]:
    told = Told(capsys, "keys", "list", "--json", *words)
    assert (told.code, told.err) == (0, "")
    keys: list[dict[str, Any]] = json.loads(told.out)["keys"]
    return keys


def test_a_key_is_alone_on_stdout_and_never_seen_again(capsys: Captured, folder: Path) -> None:
    told = Told(capsys, *CREATE)
    text = told.out.rstrip("\n")
    spelt = read_key(text.encode())
    assert told.code == 0
    assert spelt is not None
    assert text not in told.err
    assert "not shown again" in told.err
    assert "from now on every call needs one" in told.err
    assert "from now on" not in Told(capsys, *CREATE).err
    secret = text.rpartition("_")[2]
    shown = Told(capsys, "keys", "list")
    assert secret not in shown.out + shown.err
    assert spelt.id in shown.out
    assert secret not in json.dumps(listed(capsys))
    for file in folder.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_everything_that_was_said_is_kept(capsys: Captured) -> None:
    told = Told(
        capsys, "keys", "create", "--tenant", "acme", "--model", "gpt-*", "--model", "claude-x",
        "--requests-per-minute", "60", "--tokens-per-minute", "1000", "--budget-per-day", "$0.25",
        "--budget-per-month", "5", "--expires-in", "90d", "--json",
    )  # fmt: skip
    made = json.loads(told.out)
    assert told.err == ""
    assert read_key(made.pop("key").encode()) is not None
    (key,) = listed(capsys)
    assert key == made
    assert key["models"] == ["gpt-*", "claude-x"]
    assert (key["requests_per_minute"], key["tokens_per_minute"]) == (60, 1000)
    assert (key["budget_per_day_usd"], key["budget_per_month_usd"]) == ("0.25", "5")
    assert (key["spent_today_usd"], key["state"], key["revoked"]) == ("0", "active", None)
    (record,) = records()
    assert (record.day_nanos, record.month_nanos) == (NANOS // 4, 5 * NANOS)
    assert record.expires_s == pytest.approx(record.created_s + 90 * 86_400)
    assert "$0 of $0.25" in Told(capsys, "keys", "list").out


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("--tenant", "a b", "--model", "x"), "--tenant: "),
        (("--tenant", "../x", "--model", "x"), "--tenant: "),
        (("--tenant", "a", "--model", ""), "--model: "),
        (("--tenant", "a", "--model", "x", "--budget-per-day", "-1"), "--budget-per-day: "),
        (("--tenant", "a", "--model", "x", "--budget-per-day", "1e999"), "--budget-per-day: "),
        (("--tenant", "a", "--model", "x", "--budget-per-month", "much"), "--budget-per-month: "),
        (("--tenant", "a", "--model", "x", "--expires-in", "soon"), "--expires-in: "),
        (("--tenant", "a", "--model", "x", "--requests-per-minute", "0"), "requests-per-minute"),
        (("--tenant", "a"), "--model"),
        (("--model", "x"), "--tenant"),
    ],
)
def test_what_makes_no_sense_makes_no_key(
    capsys: Captured, folder: Path, words: tuple[str, ...], place: str
) -> None:
    told = Told(capsys, "keys", "create", *words)
    assert (told.code, told.out) == (2, "")
    assert place in told.err
    assert not list(folder.iterdir())


def test_a_key_ends_once_and_by_its_id_alone(capsys: Captured) -> None:
    text = Told(capsys, *CREATE).out.strip()
    (key,) = listed(capsys)
    told = Told(capsys, "keys", "revoke", text)
    assert (told.code, told.out) == (0, f"revoked {key['id']}\n")
    again = Told(capsys, "keys", "revoke", key["id"])
    assert again.code == 1
    assert text not in again.err + told.err
    (key,) = listed(capsys)
    assert key["state"] == "revoked"
    assert key["revoked"].endswith("Z")
    unknown = Told(capsys, "keys", "revoke", "nobody", "--json")
    assert (unknown.code, unknown.out) == (1, "")


def test_a_rotated_key_works_on_for_a_while(capsys: Captured) -> None:
    old = Told(capsys, *CREATE, "--budget-per-day", "5").out.strip()
    told = Told(capsys, "keys", "rotate", old, "--overlap", "2h")
    new = told.out.strip()
    first, second = listed(capsys)
    assert new != old
    assert read_key(new.encode()) is not None
    assert first["expires"] is not None
    assert first["id"] in told.err
    assert (second["expires"], second["budget_per_day_usd"]) == (None, "5")
    assert Told(capsys, "keys", "rotate", "nobody").code == 1
    assert Told(capsys, "keys", "rotate", second["id"], "--overlap", "soon").code == 2
    assert json.loads(Told(capsys, "keys", "rotate", second["id"], "--json").out)["key"]


def test_without_any_key_there_is_nothing_to_list_or_to_end(capsys: Captured, folder: Path) -> None:
    assert listed(capsys) == []
    assert Told(capsys, "keys", "list").code == 0
    for words in (("revoke", "x"), ("rotate", "x")):
        told = Told(capsys, "keys", *words)
        assert told.code == 2
        assert "no keys at headgate-keys.db" in told.err
    assert not list(folder.iterdir())


def test_the_file_is_that_of_the_configuration(capsys: Captured, folder: Path) -> None:
    (folder / "gate.toml").write_text(
        '[keys]\npath = "mine.db"\npepper = "${PEPPER:-p3pp3r-that-is-out-of-the-configuration}"\n'
    )
    Told(capsys, *CREATE, "--config", "gate.toml")
    assert sorted(file.name for file in folder.iterdir()) == ["gate.toml", "mine.db"]
    assert len(listed(capsys, "--config", "gate.toml")) == 1
    assert listed(capsys) == []


def test_a_damaged_file_is_named_and_left_alone(capsys: Captured, folder: Path) -> None:
    (folder / "headgate-keys.db").write_text("no database" * 1000)
    for words in (CREATE, ("keys", "list"), ("keys", "revoke", "x")):
        told = Told(capsys, *words)
        assert (told.code, told.out) == (2, "")
        assert "headgate-keys.db is damaged" in told.err
    assert (folder / "headgate-keys.db").read_text().startswith("no database")


def test_check_counts_keys_and_finds_what_keeps_them_from_working(
    capsys: Captured, folder: Path
) -> None:
    (folder / "x.toml").write_text('[providers.openai]\napi_key = "k"\n[models.m]\n'
                                   'targets = ["openai/gpt-4o"]\n')  # fmt: skip
    assert "client keys" not in Told(capsys, "check", "--config", "x.toml").err
    Told(capsys, "keys", "create", "--tenant", "a", "--model", "m", "--model", "lost")
    told = Told(capsys, "check", "--config", "x.toml")
    (key,) = listed(capsys)
    assert told.code == 0
    assert "note: client keys: 1 active, 0 ended\n" in told.err
    assert f"note: key {key['id']}: no model 'lost' is configured\n" in told.err
    (folder / "x.toml").write_text("[providers.openai]\n")
    told = Told(capsys, "check", "--config", "x.toml")
    assert told.code == 2
    assert "providers.openai.api_key" in told.err


def test_serve_says_both_ways_out(folder: Path) -> None:
    words = ("serve", "--host", "0.0.0.0", "--port", "0")
    done = run(*words, cwd=folder, HEADGATE_ADMIN_TOKEN="t0ken")
    assert (done.returncode, done.stdout) == (2, "")
    assert "headgate keys create" in done.stderr
    assert "--insecure-open" in done.stderr
    assert "t0ken" not in done.stderr
    assert "serves" not in done.stderr


def records() -> list[Any]:
    store = KeyStore(Path("headgate-keys.db"))
    found = store.records()
    store.close()
    return found
