# SPDX-License-Identifier: Apache-2.0
"""Anthropic's messages and their content blocks, written down as a chat."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import malformed
from llm_gateway.protocols.anthropic.tools import engine_id
from llm_gateway.protocols.conversation import Conversation, Part
from llm_gateway.protocols.reading import cannot, encode, record, text

# Claude Code writes this into its system prompt. It differs from request to request, and an engine would compute the whole prompt anew for it.
_BILLING = re.compile(r"\s*x-anthropic-billing-header:[^\n]*\n?")
# What only Anthropic's servers can read.
_SEALED = ("encrypted_content", "encrypted_stdout", "encrypted_index", "cache_control", "type")


class Source(msgspec.Struct):
    """Where a block's bytes are."""

    type: str
    data: str = ""
    media_type: str = ""
    url: str = ""
    content: str | list[Block] = ""


class Block(msgspec.Struct):
    """A content block of any type; which fields count depends on it."""

    type: str
    text: str = ""
    thinking: str = ""
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    tool_use_id: str = ""
    tool_name: str = ""
    content: Any = None
    is_error: bool | None = None


class Turn(msgspec.Struct):
    """One message."""

    role: str
    content: str | list[Block]


def write(conversation: Conversation, system: str | list[Block] | None, turns: list[Turn]) -> None:
    """All that was said. Raises ApiError 400."""
    blocks = [Block("text", text=system)] if isinstance(system, str) else system or []
    said = [block for block in blocks if not _BILLING.fullmatch(block.text)]
    conversation.system(_BILLING.sub("", _texts(said, "system"), count=1) if said else "")
    for number, turn in enumerate(turns):
        where = f"messages.{number}"
        if turn.role == "user":
            _user(conversation, turn.content, where)
        elif turn.role == "assistant":
            _assistant(conversation, turn.content, where)
        elif turn.role in ("system", "developer"):
            conversation.system(_texts(turn.content, where))
        else:
            raise malformed(f"{where}.role: expected user or assistant.", param=where)


def _texts(content: str | list[Block], where: str) -> str:
    if isinstance(content, str):
        return content
    for block in content:
        if block.type != "text":
            raise malformed(f"{where}: only text can stand here.", param=where)
    return "\n".join(block.text for block in content)


def _blocks(content: Any, where: str) -> list[Block]:
    """The blocks within a block."""
    if content is None or isinstance(content, str):
        return [Block("text", text=content)] if content else []
    try:
        return msgspec.convert(content, list[Block], strict=False)
    except msgspec.ValidationError as error:
        raise malformed(f"{where}.content cannot be understood: {error}", param=where) from error


def _user(conversation: Conversation, content: str | list[Block], where: str) -> None:
    if isinstance(content, str):
        conversation.user([{"type": "text", "text": content}])
        return
    parts: list[Part] = []
    for block in content:
        if block.type == "tool_result":
            _result(conversation, block, where)
        elif _is_result(block):
            _served_result(conversation, block)
        else:
            parts.append(_part(block, where))
    conversation.user(parts)


def _result(conversation: Conversation, block: Block, where: str) -> None:
    parts = [_part(inner, where) for inner in _blocks(block.content, where)]
    conversation.result(engine_id(block.tool_use_id), parts, "Error: " if block.is_error else "")


def _part(block: Block, where: str) -> Part:
    if block.type == "text":
        return {"type": "text", "text": block.text}
    if block.type == "tool_reference":
        return {"type": "text", "text": f"The tool {block.tool_name} can be used."}
    if block.type == "search_result":
        said = [block.title or "", text(block.source), _texts(_blocks(block.content, where), where)]
        return {"type": "text", "text": "\n".join(line for line in said if line)}
    source = block.source if isinstance(block.source, Source) else None
    found = _picture(source) if block.type == "image" and source is not None else None
    if block.type == "document" and source is not None:
        found = _document(block, source, where)
    if found is None:
        kind = f"{block.type} ({source.media_type or source.type})" if source is not None else block.type
        raise cannot(f"{where}: content of the type '{kind}' cannot be given to this model.", where)
    return found


def _picture(source: Source) -> Part | None:
    if source.type == "base64":
        return {"type": "image_url", "image_url": {"url": f"data:{source.media_type};base64,{source.data}"}}
    return {"type": "image_url", "image_url": {"url": source.url}} if source.type == "url" else None


def _document(block: Block, source: Source, where: str) -> Part | None:
    heading = "".join(f"{line}\n\n" for line in (block.title, block.context) if line)
    if source.type == "text":
        return {"type": "text", "text": heading + source.data}
    if source.type == "content":
        return {"type": "text", "text": heading + _texts(source.content, where)}
    return None


def _assistant(conversation: Conversation, content: str | list[Block], where: str) -> None:
    if isinstance(content, str):
        conversation.assistant(content)
        return
    words, thoughts = "", ""
    for block in content:
        if block.type == "text":
            words += block.text
        elif block.type == "thinking":
            thoughts += block.thinking
        elif block.type.endswith("tool_use") or _is_result(block):
            if words or thoughts:
                conversation.assistant(words, thoughts)
                words, thoughts = "", ""
            if _is_result(block):
                _served_result(conversation, block)
            else:
                arguments = bytes(block.input).decode()
                conversation.call(engine_id(block.id), block.name, "{}" if arguments == "null" else arguments)
        elif block.type == "compaction":
            words += text(block.content)
        elif block.type not in ("redacted_thinking", "fallback"):
            raise cannot(f"{where}: content of the type '{block.type}' cannot be given to this model.", where)
    if words or thoughts or not content:
        conversation.assistant(words, thoughts)


def _is_result(block: Block) -> bool:
    return block.type.endswith("_tool_result")


def _served_result(conversation: Conversation, block: Block) -> None:
    """What a tool of another provider's servers had found: said as any tool's result is."""
    found = block.content if isinstance(block.content, list) else [block.content]
    lines = []
    for each in found:
        said = {name: value for name, value in record(each).items() if name not in _SEALED}
        lines.append(encode(said).decode() if said else text(each))
    conversation.result(engine_id(block.tool_use_id), [{"type": "text", "text": "\n".join(lines)}])
