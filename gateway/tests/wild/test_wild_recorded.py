# SPDX-License-Identifier: Apache-2.0
"""Conversations of real command lines, as they were recorded with this gateway (prose left out), said again to a strict engine; and the command
lines themselves, where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gateway_support.house import KEY
from gateway_support.told import Asked, Say, Wild, chunk, events

RECORDED = Path(__file__).parent / "recorded"
CONTEXT = 32768
MODELS = [{"id": "m", "object": "model", "max_model_len": CONTEXT}]
COMMANDS = {"Bash": {"command": "echo from-a-tool", "description": "d"}, "exec_command": {"cmd": "echo from-a-tool"}}


async def strict(asked: Asked, say: Say) -> None:
    """An engine that takes what chat templates take: one system message, first; then user and assistant by turns."""
    said = asked.json
    roles = [message["role"] for message in said["messages"] if message["role"] != "tool"]
    wrong = ""
    if "system" in roles[1:] or any(one == other for one, other in pairwise(roles) if one == "user"):
        wrong = "Conversation roles must alternate user/assistant."
    elif any(tool["type"] != "function" for tool in said.get("tools", ())):
        wrong = "tools: Input should be 'function'"
    elif said.get("max_tokens", 0) > CONTEXT - 20000:
        wrong = (
            f"max_tokens is too large: {said['max_tokens']}. This model's maximum context length is {CONTEXT} tokens "
            "and your request has 20000 input tokens"
        )
    elif said.get("reasoning_effort") not in (None, "low", "medium", "high"):
        wrong = "reasoning_effort: Input should be 'low', 'medium' or 'high'"
    if wrong:
        await say.json({"error": {"message": wrong, "type": "BadRequestError", "code": 400}}, 400)
        return
    await say.stream()
    await say.event(chunk({"role": "assistant", "content": "", "reasoning_content": "I should act."}))
    names = [tool["function"]["name"] for tool in said.get("tools", ())]
    tool = next((name for name in COMMANDS if name in names), None)
    if tool is not None and not any(message["role"] == "tool" for message in said["messages"]):
        function = {"name": tool, "arguments": json.dumps(COMMANDS[tool])}
        await say.event(
            chunk({"tool_calls": [{"index": 0, "id": f"functions.{tool}:0", "type": "function", "function": function}]})
        )
        await say.event(chunk({}, "tool_calls"))
    else:
        await say.event(chunk({"content": "All done."}))
        await say.event(chunk({}, "stop"))
    await say.event(chunk(choices=[], usage={"prompt_tokens": 20000, "completion_tokens": 6}))
    await say.end()


@pytest.mark.parametrize("name", ["claude_code", "codex"])
def test_a_recorded_conversation_is_answered(wild: Wild, name: str) -> None:
    engine = wild.engine(strict, MODELS)
    front = wild.gateway(engine)
    replies = []
    for asked in json.loads((RECORDED / f"{name}.json").read_text()):
        headers = {key: value for key, value in asked["headers"].items() if key != "accept-encoding"}
        reply = front.request(asked["method"], asked["path"], asked["body"], key=KEY, **headers)
        assert reply.status == 200, reply.body
        if asked["method"] == "POST":
            replies.append(events(reply.body))
    first, second = replies
    assert "from-a-tool" in json.dumps(first)
    assert "All done." in json.dumps(second)
    assert second[-1]["type"] in ("message_stop", "response.completed")
    # The engine sees its own ids and the model's own thoughts again.
    turn = next(message for message in engine.last["messages"] if message["role"] == "assistant")
    assert turn["tool_calls"][0]["id"].startswith("functions.")
    assert turn["reasoning_content"] == "I should act."


def test_claude_code_runs_if_it_is_installed(wild: Wild, tmp_path: Path) -> None:
    command = shutil.which("claude") or pytest.skip("no `claude` on the PATH (npm @anthropic-ai/claude-code)")
    front = wild.gateway(wild.engine(strict, MODELS))
    said = _run(
        [command, "-p", "say hello with a tool", "--output-format", "json", "--dangerously-skip-permissions"],
        tmp_path,
        ANTHROPIC_BASE_URL=front.url,
        ANTHROPIC_AUTH_TOKEN=KEY,
        ANTHROPIC_MODEL="m",
        ANTHROPIC_SMALL_FAST_MODEL="m",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_AUTOUPDATER="1",
        IS_SANDBOX="1",
    )
    found = json.loads(said)
    assert (found["is_error"], found["result"], found["num_turns"]) == (False, "All done.", 2)


def test_codex_runs_if_it_is_installed(wild: Wild, tmp_path: Path) -> None:
    command = shutil.which("codex") or pytest.skip("no `codex` on the PATH (npm @openai/codex)")
    engine = wild.engine(strict, MODELS)
    front = wild.gateway(engine)
    (tmp_path / ".codex").mkdir()
    provider = f'[model_providers.gateway]\nname = "gateway"\nbase_url = "{front.url}/v1"\nenv_key = "KEY"\nwire_api = "responses"\n'
    settings = f'model = "m"\nmodel_provider = "gateway"\nmodel_reasoning_effort = "xhigh"\n{provider}'
    (tmp_path / ".codex" / "config.toml").write_text(settings)
    arguments = ["exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check", "say hello with a tool"]
    assert "All done." in _run([command, *arguments], tmp_path, KEY=KEY)
    assert any("from-a-tool" in json.dumps(asked.json["messages"]) for asked in engine.asked)


def _run(command: list[str], home: Path, **environment: Any) -> str:
    """What a command line prints, in an empty home of its own."""
    work = home / "work"
    work.mkdir()
    known = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "CI": "1"}
    found = subprocess.run(
        command,
        cwd=work,
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout
