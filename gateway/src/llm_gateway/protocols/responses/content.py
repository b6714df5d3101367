# SPDX-License-Identifier: Apache-2.0
"""The items of a Responses conversation, written down as a chat."""

from __future__ import annotations

from typing import Any

from llm_gateway.errors import malformed
from llm_gateway.protocols.conversation import Conversation, Part
from llm_gateway.protocols.reading import cannot, encode, record, records, text
from llm_gateway.protocols.responses.tools import Tools, arguments_of, function_name

# Calls that the client ran: the result is an item of its own, with the same `call_id`.
_CALLS = {
    "function_call": "",
    "custom_tool_call": "",
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "apply_patch_call": "apply_patch",
    "tool_search_call": "tool_search",
    "computer_call": "computer",
}
# Calls that another provider's servers ran: the result, if it is told, stands in the same item.
_SERVED = ("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call")
_RESULTS = ("output", "outputs", "results", "error")
# What tells nothing that a model could use.
_PASSED_OVER = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response")


def write(conversation: Conversation, items: list[dict[str, Any]], tools: Tools) -> None:
    """All that was said; tools that came up in between are added to the others. Raises ApiError 400."""
    for number, item in enumerate(items):
        where = f"input.{number}"
        kind = text(item.get("type")) or "message"
        if kind == "message":
            _message(conversation, item, where)
        elif kind == "reasoning":
            thoughts = text(item.get("content")) or text(item.get("summary"))
            if thoughts:
                conversation.assistant(thoughts=thoughts)
        elif kind in _CALLS:
            name = _CALLS[kind] or function_name(text(item.get("name")), text(item.get("namespace")))
            conversation.call(_call_id(item), name, arguments_of(item))
        elif kind == "tool_search_output":
            found = records(item.get("tools"))
            tools.add(found)
            names = ", ".join(text(tool.get("name")) for tool in found)
            conversation.result(_call_id(item), [_said(f"Found: {names}")])
        elif kind == "additional_tools":
            tools.add(records(item.get("tools")))
        elif kind.endswith("_call_output"):
            conversation.result(_call_id(item), _output(item.get("output"), where))
        elif kind in _SERVED:
            _served(conversation, item, kind)
        elif kind in _PASSED_OVER:
            tools.left_out.append(kind)
        else:
            raise cannot(f"{where}: input of the type '{kind}' is not possible here.", where)


def _call_id(item: dict[str, Any]) -> str:
    return text(item.get("call_id")) or text(item.get("id"))


def _said(words: str) -> Part:
    return {"type": "text", "text": words}


def _message(conversation: Conversation, item: dict[str, Any], where: str) -> None:
    role = item.get("role")
    parts = _parts(item.get("content"), where)
    words = [part["text"] for part in parts if part["type"] == "text"]
    if role == "user":
        conversation.user(parts)
    elif role == "assistant":
        conversation.assistant("".join(words))
    elif role in ("system", "developer"):
        conversation.system("\n".join(words))
    else:
        raise malformed(f"{where}.role: expected user, assistant, system or developer.", param=where)


def _parts(content: Any, where: str) -> list[Part]:
    if content is None or isinstance(content, str):
        return [_said(content)] if content else []
    if not isinstance(content, list):
        raise malformed(f"{where}.content: expected text or a list of parts.", param=where)
    return [_part(record(part), where) for part in content]


def _part(part: dict[str, Any], where: str) -> Part:
    kind = text(part.get("type"))
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        return _said(text(part.get("text")))
    if kind == "refusal":
        return _said(text(part.get("refusal")))
    if kind in ("input_image", "computer_screenshot") and part.get("image_url"):
        given = part["image_url"]
        picture = {"url": given if isinstance(given, str) else text(record(given).get("url"))}
        if part.get("detail") is not None:
            picture["detail"] = part["detail"]
        return {"type": "image_url", "image_url": picture}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": record(part.get("input_audio"))}
    what = f"'{kind}' ({text(part.get('filename'))})" if part.get("filename") else f"'{kind}'"
    raise cannot(f"{where}: content of the type {what} cannot be given to this model.", where)


def _output(output: Any, where: str) -> list[Part]:
    """What a tool found: text, parts, or an object of its own shape."""
    if isinstance(output, str) or output is None:
        return [_said(output)] if output else []
    parts = output if isinstance(output, list) else [output]
    if all("_" in text(record(part).get("type")) or record(part).get("type") == "text" for part in parts):
        return _parts(parts, where)
    return [_said(encode(output).decode())]


def _served(conversation: Conversation, item: dict[str, Any], kind: str) -> None:
    name = text(item.get("name")) or kind.removesuffix("_call")
    asked = (
        item.get("arguments") or item.get("action") or {key: item[key] for key in ("queries", "code") if item.get(key)}
    )
    arguments = asked if isinstance(asked, str) else encode(asked or {}).decode()
    conversation.call(_call_id(item), name, arguments)
    found = {key: item[key] for key in _RESULTS if item.get(key)}
    parts = [_said(encode(found).decode() if found else text(item.get("status")) or "completed")]
    if kind == "image_generation_call" and isinstance(item.get("result"), str):
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{item['result']}"}})
    conversation.result(_call_id(item), parts)
