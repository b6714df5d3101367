# SPDX-License-Identifier: Apache-2.0
"""A stream cut anywhere is the same stream: the same bytes for the client, the same counts."""

from __future__ import annotations

import json

import pytest
from gateway_support import streams

from llm_gateway.data_path.relay import Relay
from llm_gateway.data_path.usage import asking

HEAD = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def stream(end: str = "\n", start: str = "", *, null: bool = False) -> bytes:
    more = {"usage": None} if null else {}
    chunks = [HEAD | {"choices": [{"index": 0, "delta": {"content": text}}]} | more for text in ("héllo", " 🙂")]
    chunks.append(HEAD | {"choices": [], "usage": {"prompt_tokens": 1234, "completion_tokens": 567}})
    events = [f"data: {json.dumps(each, ensure_ascii=False)}{end}{end}" for each in chunks]
    return (start + "".join(events) + f"data: [DONE]{end}{end}").encode()


STREAMS = {
    "plain": stream(),
    "CRLF": stream("\r\n"),
    "CR": stream("\r"),
    "BOM": stream(start="\ufeff"),
    "unknown field": stream(start="foo: bar\n"),
    "a blank": stream(start=" \n"),
    "a comment": stream(start=": hi\n\n"),
    "null usage": stream(null=True),
}


def relayed(pieces: list[bytes], *, hide: bool) -> tuple[bytes, tuple[int, int] | None, int]:
    relay = Relay(None, None, None, hide_usage=hide)
    found = b"".join(relay.piece(piece) for piece in pieces) + relay.end()
    return found, relay.usage, relay.events


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_anywhere_is_the_same_stream(name: str, hide: bool) -> None:
    whole = STREAMS[name]
    expected = relayed([whole], hide=hide)
    assert expected[1] == (1234, 567)
    assert (b'"usage"' in expected[0]) is not hide
    for at in range(1, len(whole)):
        assert relayed([whole[:at], whole[at:]], hide=hide) == expected
    assert relayed([whole[at : at + 1] for at in range(len(whole))], hide=hide) == expected


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("which", [*streams.STREAMS, "texts"])
def test_so_is_every_recorded_one_and_its_counts(which: str, hide: bool) -> None:
    whole = streams.STREAMS.get(which, streams.TEXTS)
    expected = relayed([whole], hide=hide)
    assert hide or expected[0] == whole
    for at in range(1, len(whole)):
        assert relayed([whole[:at], whole[at:]], hide=hide) == expected
    assert relayed([whole[at : at + 1] for at in range(len(whole))], hide=hide) == expected


def test_without_anything_to_hide_every_byte_goes_on_as_it_came() -> None:
    assert all(relayed([whole], hide=False)[0] == whole for whole in STREAMS.values())


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "stream": True, "messages": []},
        {"stream_options": None, "stream": True},
        {"stream_options": {"include_usage": False, "continuous_usage_stats": True}},
    ],
)
def test_usage_is_asked_for_and_all_else_is_as_it_was(body: dict[str, object]) -> None:
    found = asking(b"/v1/chat/completions", json.dumps(body).encode())
    assert found is not None
    said = json.loads(found)
    assert said.pop("stream_options")["include_usage"] is True
    assert said == {name: value for name, value in body.items() if name != "stream_options"}


def test_a_request_that_asks_for_usage_stays_as_it_is() -> None:
    assert asking(b"/v1/chat/completions", b'{"stream_options": {"include_usage": true}}') is None
    assert asking(b"/v1/embeddings", b'{"input": "x"}') is None
