# SPDX-License-Identifier: Apache-2.0
"""Spellings of paths, and forms with files."""

from __future__ import annotations

import pytest

from llm_gateway.errors import ApiError
from llm_gateway.protocols import doors, multipart

CHAT = b"/v1/chat/completions"


@pytest.mark.parametrize(
    "path",
    [
        CHAT,
        b"//v1/chat/completions",
        b"/v1//chat/completions/",
        b"/chat/completions",
        b"/v1/v1/chat/completions",
        b"/openai/v1/chat/completions",
        b"/api/chat/completions",
        b"/llm/prod/v1/chat/completions",
    ],
)
def test_spellings_of_one_path(path: bytes) -> None:
    assert doors.served(path, posted=True) == (CHAT, b"")


@pytest.mark.parametrize("base", [b"/openai/deployments/", b"/deployments/"])
def test_a_deployment_is_a_model(base: bytes) -> None:
    assert doors.served(base + b"org%2Fm/chat/completions", posted=True) == (CHAT, b"org/m")
    assert doors.served(base + b"org/m/chat/completions", posted=True) == (CHAT, b"org/m")
    assert doors.served(base + b"m/unknown", posted=True) == (base + b"m/unknown", b"")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/models", b"/v1/models"),
        (b"//v1/models/", b"/v1/models"),
        (b"/v1/models/org/m", b"/v1/models/org/m"),
        (b"/v1/models/a%2Fb", b"/v1/models/a%2Fb"),
        (b"/openai/v1/models/a", b"/v1/models/a"),
        (b"/models/a", b"/v1/models/a"),
        (b"/health/", b"/health"),
        (b"/admin//status", b"/admin//status"),
        (b"/x/", b"/x/"),
    ],
)
def test_what_is_read(path: bytes, expected: bytes) -> None:
    assert doors.served(path, posted=False) == (expected, b"")


@pytest.mark.parametrize("path", [b"//v1/models", b"/x/", b"/admin/reload/", b"/v1/chat"])
def test_what_nobody_posts_to_keeps_its_name(path: bytes) -> None:
    assert doors.served(path, posted=True) == (path, b"")


TYPE = b'multipart/form-data; boundary="B-1"'
FILE = bytes(range(256)) * 50


def form(**fields: str) -> bytes:
    parts = [
        f'--B-1\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = b'--B-1\r\nContent-Disposition: form-data; name="file"; filename="model"\r\nContent-Type: audio/wav\r\n\r\n'
    return head + FILE + b"\r\n" + "".join(parts).encode() + b"--B-1--\r\n"


def test_a_form_says_its_model_and_whether_it_streams() -> None:
    asked = multipart.read(TYPE, form(model="org/wörter", stream="true"))
    assert (asked.model, asked.stream) == ("org/wörter", True)
    assert multipart.read(TYPE, form()).model == ""


def test_another_model_leaves_the_file_alone() -> None:
    asked = multipart.with_model(TYPE, form(model="a", language="de"), "longer name")
    assert asked == form(model="longer name", language="de")
    assert multipart.read(TYPE, multipart.with_model(TYPE, form(), "b")).model == "b"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"multipart/form-data", form()),
        (TYPE, b""),
        (TYPE, b"nothing"),
        (TYPE, form(model="m")[:-40]),
        (TYPE, b"--B-1\r\nno head"),
        (TYPE, form(model="m" * 2000)),
    ],
)
def test_a_broken_form_is_a_400(content_type: bytes, body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        multipart.read(content_type, body)
    assert caught.value.status == 400
