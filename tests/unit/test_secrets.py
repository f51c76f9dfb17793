"""Secrets by their names: from the environment, from files, from an encrypted store, and from one after another."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import msgspec
import pytest

from holdfast.errors import SecretMissing, StorageDamaged, UsageError
from holdfast.safety.redacting import MARK, Redactor
from holdfast.safety.secrets.chain import Secrets
from holdfast.safety.secrets.environment import EnvironmentSecrets
from holdfast.safety.secrets.files import FileSecrets
from holdfast.safety.secrets.port import Reference, reference_of
from holdfast.safety.secrets.store import KEY, StoredSecrets


@pytest.mark.requirement("safety:secret-references")
@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("name", Reference("name")),
        ("name:client_id", Reference("name", "client_id")),
        ("team/name", Reference("name", namespace="team")),
        ("team/name:key", Reference("name", "key", "team")),
    ],
)
def test_a_reference_is_read_as_it_is_written(text: str, reference: Reference) -> None:
    assert reference_of(text) == reference
    assert str(reference) == text


@pytest.mark.requirement("safety:secret-references")
@pytest.mark.parametrize("text", ["", "/", "a/", "/a", "a:", ":a", "../a", "a/b/c", "a b", "a\n", "a:b:c", ".a"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no name of a secret"):
        reference_of(text)


@pytest.mark.requirement("safety:secrets-environment")
@pytest.mark.parametrize("variable", ["openai-api-key", "OPENAI_API_KEY", "HOLDFAST_SECRET_OPENAI_API_KEY"])
async def test_the_environment_is_looked_through_under_three_names(variable: str) -> None:
    names = ["openai-api-key", "OPENAI_API_KEY", "HOLDFAST_SECRET_OPENAI_API_KEY"]
    environ = {each: each for each in names[names.index(variable) :]}
    assert await EnvironmentSecrets(environ).resolve(reference_of("openai-api-key")) == variable
    assert await EnvironmentSecrets({}).resolve(reference_of("openai-api-key")) is None
    assert await EnvironmentSecrets({"OPENAI_API_KEY": ""}).resolve(reference_of("openai-api-key")) is None


@pytest.mark.requirement("safety:secrets-files")
async def test_files_are_found_by_name_and_key(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("one\n", "utf-8")
    (tmp_path / "team" / "pair").mkdir(parents=True)
    (tmp_path / "team" / "pair" / "client_id").write_text("two", "utf-8")
    secrets = FileSecrets(tmp_path)
    assert await secrets.resolve(reference_of("plain")) == "one"
    assert await secrets.resolve(reference_of("team/pair:client_id")) == "two"
    for missing in ("other", "plain:key", "team/pair", "team/other"):
        assert await secrets.resolve(reference_of(missing)) is None


@pytest.mark.requirement("safety:secrets-files")
async def test_a_file_that_others_may_write_or_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("x", "utf-8")
    (tmp_path / "open").chmod(0o666)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    os.mkfifo(tmp_path / "pipe")
    secrets = FileSecrets(tmp_path)
    for name, words in {
        "open": "others may write",
        "binary": "no text",
        "large": "over 64 KiB",
        "pipe": "no file",
    }.items():
        with pytest.raises(UsageError, match=words):
            await secrets.resolve(reference_of(name))


@pytest.mark.requirement("safety:secrets-store")
async def test_what_is_set_is_encrypted_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "secrets.json"
    store = StoredSecrets(path)
    assert await store.resolve(reference_of("a")) is None
    store.set(reference_of("a"), "the value")
    store.set(reference_of("team/a:key"), "another")
    store.set(reference_of("a"), "a newer value")
    again = StoredSecrets(path)
    assert await again.resolve(reference_of("a")) == "a newer value"
    assert await again.resolve(reference_of("team/a:key")) == "another"
    assert [str(each) for each in again.references()] == ["a", "team/a:key"]
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        assert b"newer" not in file.read_bytes()
    assert again.remove(reference_of("a"))
    assert not again.remove(reference_of("a"))
    assert await again.resolve(reference_of("a")) is None


@pytest.mark.requirement("safety:secrets-store")
async def test_a_value_under_another_name_a_changed_one_and_another_key_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    store = StoredSecrets(path, key=b"k" * 32)
    store.set(reference_of("a"), "the value")
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("/a:value", "/b:value"), "utf-8")
    with pytest.raises(UsageError, match="cannot be decrypted"):
        await store.resolve(reference_of("b"))
    path.write_text(whole, "utf-8")
    with pytest.raises(UsageError, match="cannot be decrypted"):
        await StoredSecrets(path, key=b"o" * 32).resolve(reference_of("a"))
    with pytest.raises(UsageError, match="cannot be decrypted"):
        StoredSecrets(path, key=b"o" * 32).set(
            reference_of("c"), "x"
        )  # half the file under one key, half under another
    path.write_text("{", "utf-8")
    with pytest.raises(StorageDamaged):
        await store.resolve(reference_of("a"))


@pytest.mark.requirement("safety:secrets-store")
async def test_the_key_comes_from_the_environment_or_a_file_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secrets.json"
    StoredSecrets(path).set(reference_of("a"), "x")
    beside = tmp_path / "secrets.json.key"
    told = beside.read_text("utf-8")
    beside.chmod(0o644)
    with pytest.raises(UsageError, match="others may read the key"):
        await StoredSecrets(path).resolve(reference_of("a"))
    beside.unlink()
    with pytest.raises(UsageError, match="there is no key"):
        await StoredSecrets(path).resolve(reference_of("a"))
    monkeypatch.setenv(KEY, told)
    assert await StoredSecrets(path).resolve(reference_of("a")) == "x"
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(UsageError, match="holds no key"):
        await StoredSecrets(path).resolve(reference_of("a"))


@pytest.mark.requirement("safety:secrets-store")
def test_values_that_are_set_at_once_are_all_kept(tmp_path: Path) -> None:
    stores = [StoredSecrets(tmp_path / "secrets.json", key=b"k" * 32) for _ in range(8)]
    threads = [
        threading.Thread(target=store.set, args=(reference_of(f"n{number}"), f"v{number}"))
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].references()) == 8


@pytest.mark.requirement("safety:secrets-chain")
async def test_the_first_place_that_knows_a_secret_gives_it_and_it_is_redacted_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "both").write_text("from a file", "utf-8")
    redactor = Redactor()
    secrets = Secrets([EnvironmentSecrets({"BOTH": "from the environment"}), FileSecrets(tmp_path)], redactor)
    assert redactor.clean("from the environment") == "from the environment"
    assert await secrets.value("both") == "from the environment"
    assert redactor.clean("from the environment") == MARK
    with pytest.raises(SecretMissing, match=r"'other'.*EnvironmentSecrets, FileSecrets"):
        await secrets.value("other")


@pytest.mark.requirement("safety:secrets-store")
async def test_a_damaged_value_can_be_set_again_and_keeps_no_other_from_being_set(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    store = StoredSecrets(path, key=b"k" * 32)
    for name in ("a", "b"):
        store.set(reference_of(name), f"the value of {name}")
    held = msgspec.json.decode(path.read_bytes())
    held["values"]["/a:value"] = held["values"]["/b:value"]
    path.write_bytes(msgspec.json.encode(held))
    with pytest.raises(UsageError, match="set it again"):
        await store.resolve(reference_of("a"))
    store.set(reference_of("c"), "another")
    store.set(reference_of("a"), "set again")
    assert [await store.resolve(reference_of(name)) for name in "abc"] == ["set again", "the value of b", "another"]


@pytest.mark.requirement("safety:secrets-store")
def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = StoredSecrets(tmp_path / "secrets.json")
    with monkeypatch.context() as during:
        during.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.set(reference_of("a"), "x")
    assert [each.name for each in tmp_path.iterdir()] == ["secrets.json.lock"]
    store.set(reference_of("a"), "x")


@pytest.mark.requirement("safety:secrets-store")
async def test_what_cannot_be_read_or_kept_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no text"):
        StoredSecrets(tmp_path / "s", key=b"k" * 32).set(reference_of("a"), "\udcff")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="make it a file"):
        await StoredSecrets(tmp_path / "folder").resolve(reference_of("a"))
    (tmp_path / "linked.key").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="bring the file itself"):
        StoredSecrets(tmp_path / "linked").set(reference_of("a"), "x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a" / "value").mkdir(parents=True)
    for name in ("loop", "a"):
        with pytest.raises(UsageError, match="cannot be read"):
            await FileSecrets(tmp_path).resolve(reference_of(name))
    with pytest.raises(UsageError, match="variable a is no text"):
        await EnvironmentSecrets({"a": "\udcffabc"}).resolve(reference_of("a"))
