# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.api.script: an ASGI application with upstream's routes, and a server just good enough for tests."""

import asyncio
import json
import signal
import sys
import time
from types import SimpleNamespace

from modules import shared
from modules.logging_colors import logger
from modules.models import load_model, unload_model
from modules.text_generation import generate_reply


class App:
    def __init__(self):
        self.user_middleware = []

    def add_middleware(self, cls, **options):
        self.user_middleware.insert(0, SimpleNamespace(cls=cls, options=options))

    async def __call__(self, scope, receive, send):
        inner = route
        for one in reversed(self.user_middleware):
            inner = one.cls(inner, **one.options)
        await inner(scope, receive, send)


app = App()


async def route(scope, receive, send):
    headers = dict(scope["headers"])
    if headers.get(b"host", b"").split(b":")[0] not in (b"localhost", b"127.0.0.1") and not shared.args.listen:
        await reply(send, 400, {"detail": "Invalid host header"})
    elif shared.args.api_key and headers.get(b"authorization") != f"Bearer {shared.args.api_key}".encode():
        await reply(send, 401, {"detail": "Unauthorized"})
    elif scope["path"] == "/v1/internal/model/info":
        await reply(send, 200, {"model_name": shared.model_name, "loader": shared.args.loader})
    elif scope["path"] == "/v1/internal/model/load":
        asked = json.loads((await receive())["body"])
        unload_model()
        shared.model, shared.tokenizer = load_model(asked["model_name"])
        await reply(send, 200, "OK")
    elif scope["path"] in ("/v1/completions", "/v1/chat/completions"):
        await complete(json.loads((await receive())["body"]), scope["path"], send)
    else:
        await reply(send, 404, {"detail": "Not Found"})


async def reply(send, status, content, kind=b"application/json"):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def state_of(body):
    state = {
        "temperature": body.get("temperature", 1),
        "top_p": body.get("top_p", 0.95),
        "top_k": body.get("top_k", 0),
        "seed": body.get("seed", -1) if body.get("seed", -1) >= 0 else 1,
        "max_new_tokens": body.get("max_tokens") or 512,
        "truncation_length": shared.settings["truncation_length"],
        "stream": body.get("stream", False),
        "add_bos_token": True,
        "do_sample": True,
    }
    if state["temperature"] == 0:
        state |= {"do_sample": False, "top_k": 1}
    return state


async def complete(body, path, send):
    chat = path.endswith("/chat/completions")
    prompt = "".join(one["content"] for one in body["messages"]) if chat else body["prompt"]
    stop = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    replies = generate_reply(prompt, state_of(body), stop, is_chat=chat)
    if not body.get("stream"):
        text = await asyncio.to_thread(lambda: [*replies][-1])
        await reply(send, 200, answer(chat, text, prompt))
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    seen, end = "", object()
    try:
        while (text := await asyncio.to_thread(next, replies, end)) is not end:
            event = answer(chat, text[len(seen) :], prompt, delta=True)
            await send(
                {"type": "http.response.body", "body": f"data: {json.dumps(event)}\n\n".encode(), "more_body": True}
            )
            seen = text
    finally:
        replies.close()
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def answer(chat, text, prompt, delta=False):
    choice = {"delta" if delta else "message": {"role": "assistant", "content": text}} if chat else {"text": text}
    tokens = len(shared.tokenizer.encode(text))
    before = getattr(shared.model, "last_prompt_token_count", 0)
    usage = {"prompt_tokens": before, "completion_tokens": tokens, "total_tokens": before + tokens}
    choice |= {"index": 0, "finish_reason": None if delta else "stop"}
    kind = "chat.completion" if chat else "text_completion"
    known = {"id": f"conv-{time.time_ns()}", "object": kind, "created": int(time.time()), "model": shared.model_name}
    return {**known, "choices": [choice], "usage": usage}


async def connection(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, __ = head[0].split(" ")
    pairs = [line.split(": ", 1) for line in head[1:] if line]
    headers = [(name.lower().encode(), value.encode()) for name, value in pairs]
    body = await reader.readexactly(int(dict(headers).get(b"content-length", b"0")))
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if given:
            return given.pop()
        await reader.read()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            lines = [f"HTTP/1.1 {message['status']} -", "connection: close"]
            lines += [f"{name.decode()}: {value.decode()}" for name, value in message["headers"]]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        else:
            writer.write(message.get("body", b""))
        await writer.drain()

    try:
        await app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
    except Exception as problem:
        logger.error(f"{problem!r}")  # pylint: disable=logging-fstring-interpolation
    finally:
        writer.close()


async def serve():
    host = "0.0.0.0" if shared.args.listen else "127.0.0.1"
    server = await asyncio.start_server(connection, host, shared.args.api_port)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    # As uvicorn: its own handlers while it runs.
    signal.signal(signal.SIGTERM, lambda *__: loop.call_soon_threadsafe(over.set))
    await over.wait()
    server.close()


def setup():
    if shared.args.api_key:
        logger.info(f"OpenAI API key:\n\n{shared.args.api_key}\n")  # pylint: disable=logging-fstring-interpolation
    asyncio.run(serve())
    sys.exit(0)
