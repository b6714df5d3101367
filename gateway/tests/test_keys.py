# SPDX-License-Identifier: Apache-2.0
"""Keys: hashes in files, scopes, expiry, rotation, reload."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path

import pytest
from gateway_support.house import House

from llm_gateway.callers.keys import KeyStore, read_key_document, read_keys_dir
from llm_gateway.errors import ConfigError


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def test_a_file_is_a_key_by_name_and_hash() -> None:
    [(found, key)] = read_key_document("first", f"sha256:{digest('sk-1')}\n")
    assert found.hex() == digest("sk-1")
    assert (key.name, key.tenant, key.models) == ("first", "first", None)


def test_a_json_key_has_scopes_expiry_and_limits() -> None:
    document = {
        "sha256": digest("sk-1"),
        "models": ["a"],
        "expires": "2030-01-01T00:00:00Z",
        "limits": {"concurrency": 2},
    }
    [(__, key)] = read_key_document("first", json.dumps(document))
    assert key.may_use("a")
    assert not key.may_use("b")
    assert key.expires_at == 1893456000
    assert key.limits.concurrency == 2


def test_rotation_keeps_the_old_key_for_a_while() -> None:
    document = {"sha256": digest("new"), "previous": [digest("old")], "previous_until": time.time() + 60}
    store = KeyStore(read_key_document("first", json.dumps(document)))
    assert store.find(bytes.fromhex(digest("new"))).expires_at is None
    assert store.find(bytes.fromhex(digest("old"))).name == "first"
    document["previous_until"] = time.time() - 1
    store = KeyStore(read_key_document("first", json.dumps(document)))
    assert store.find(bytes.fromhex(digest("old"))) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "sk-plain-key",
        "sha256:abc",
        "{",
        '{"sha256": "x"}',
        '{"sha256": "x", "more": ' + "[" * 9000,
        '{"sha256": "%s", "modles": []}' % ("a" * 64),
        '{"sha256": "%s", "expires": "2030-01-01T00:00:00"}' % ("a" * 64),
    ],
)
def test_a_bad_key_file_is_refused_without_showing_what_is_in_it(content: str) -> None:
    with pytest.raises(ConfigError, match="first") as refused:
        read_key_document("first", content)
    assert "sk-plain" not in str(refused.value)


def test_a_mounted_secret_is_read_without_its_own_links(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01"
    data.mkdir()
    (data / "first").write_text(f"sha256:{digest('sk-1')}")
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "first").symlink_to(Path("..data") / "first")
    assert [key.name for __, key in read_keys_dir(tmp_path)] == ["first"]


def test_a_changed_key_counts_without_a_restart_and_a_bad_one_changes_nothing(house: House) -> None:
    folder = house.folder / "keys"
    folder.mkdir()
    (folder / "first").write_text(f"sha256:{digest('sk-1')}")
    front = house.front(house.engine(), keys_dir=str(folder))
    assert front.chat(key="sk-1").status == 200
    assert front.chat(key="sk-2").status == 401
    (folder / "second").write_text(f"sha256:{digest('sk-2')}")
    house.call(front.worker.reload)
    assert front.chat(key="sk-2").status == 200
    (folder / "first").unlink()
    (folder / "third").write_text("broken")
    house.call(front.worker.reload)
    assert front.chat(key="sk-1").status == 200
    (folder / "third").unlink()
    house.call(front.worker.reload)
    assert front.chat(key="sk-1").status == 401
    assert front.metric('config_reloads_total{result="refused"') == 1


def test_a_key_sees_and_uses_its_own_models_only(house: House) -> None:
    folder = house.folder / "keys"
    folder.mkdir()
    (folder / "scoped").write_text(json.dumps({"sha256": digest("sk-1"), "models": ["other"]}))
    front = house.front(house.engine(), keys_dir=str(folder))
    assert front.get("/v1/models", key="sk-1").json["data"] == []
    assert front.chat(key="sk-1").status == 403


@pytest.mark.parametrize("key", ["clé-1".encode(), "clé-1".encode("latin-1"), "鍵".encode(), b"plain-1"])
@pytest.mark.parametrize("header", [b"authorization: Bearer ", b"x-api-key: ", b"api-key: "])
def test_a_key_is_its_bytes_whoever_serves_the_path(house: House, key: bytes, header: bytes) -> None:
    file = house.folder / "keys.txt"
    file.write_bytes(key + b"\n")
    front = house.front(house.engine(), api_key_file=str(file))
    body = b'{"model":"tiny","prompt":"x"}'

    def status(shown: bytes, path: bytes, rest: bytes) -> bytes:
        return front.raw(path + b" HTTP/1.1\r\nhost: x\r\n" + header + shown + b"\r\n" + rest, timeout=5)[9:12]

    posted = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    for shown, expected in ((key, b"200"), (key + b"\xc3", b"401"), (key[:-1], b"401")):
        assert status(shown, b"POST /v1/completions", posted) == expected
        assert status(shown, b"GET /v1/models", b"\r\n") == expected
