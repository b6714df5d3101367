# SPDX-License-Identifier: Apache-2.0
"""Tools of Anthropic's API as functions.

Anthropic publishes tools of three kinds: the client's own, those whose shape Anthropic has set and clients run (bash, text editor, memory,
computer: https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview), and those that Anthropic's servers run (web search, code execution). The
second become functions of the documented shape; the third cannot be had from an engine and are left out, unless the answer must use one.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.errors import malformed
from llm_gateway.protocols.reading import cannot, encode

_DATED = re.compile(r"_\d{8}$")


class Tool(msgspec.Struct):
    """A tool. One with a `type` other than custom is of a shape that Anthropic has set."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    display_width_px: int | None = None
    display_height_px: int | None = None


class ToolChoice(msgspec.Struct):
    """Whether a tool must be used."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


def _shape(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _is(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


def _of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_TEXT, _NUMBER, _FLAG = _is("string"), _is("integer"), _is("boolean")
_PLACE = _is("array", items=_NUMBER)
_FILES = {
    "path": _TEXT,
    "file_text": _TEXT,
    "old_str": _TEXT,
    "new_str": _TEXT,
    "insert_line": _NUMBER,
    "insert_text": _TEXT,
    "view_range": _PLACE,
}
_CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bash": (
        "Run a command in a bash session that stays open; `restart` begins a new one.",
        _shape([], command=_TEXT, restart=_FLAG),
    ),
    "text_editor": (
        "View, create and edit files. `str_replace` replaces `old_str`, which must occur once, by `new_str`; `insert` puts `insert_text` after `insert_line`.",
        _shape(["command", "path"], command=_of("view", "create", "str_replace", "insert"), **_FILES),
    ),
    "memory": (
        "Keep notes in files under /memories over conversations. Look there first; write down what will be needed later.",
        _shape(
            ["command"],
            command=_of("view", "create", "str_replace", "insert", "delete", "rename"),
            **_FILES,
            old_path=_TEXT,
            new_path=_TEXT,
        ),
    ),
    "computer": (
        "Use the mouse, the keyboard and the screen of a computer; a screenshot shows what an action did.",
        _shape(
            ["action"],
            action=_is(
                "string",
                description="key, type, mouse_move, left_click, right_click, double_click, screenshot, scroll, wait …",
            ),
            coordinate=_PLACE,
            start_coordinate=_PLACE,
            text=_TEXT,
            scroll_direction=_of("up", "down", "left", "right"),
            scroll_amount=_NUMBER,
            duration=_is("number"),
            region=_PLACE,
        ),
    ),
}


class Tools:
    """The tools of one request."""

    def __init__(self, tools: list[Tool] | None) -> None:
        self.functions: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        for tool in tools or ():
            function = _function(tool)
            if function is None:
                self.left_out.append(tool.type or tool.name)
            else:
                self.functions.append({"type": "function", "function": function})
        self._missing = {tool.name for tool in tools or () if (tool.type or tool.name) in self.left_out}

    def said(self, choice: ToolChoice | None) -> dict[str, Any]:
        """What a chat completion calls them. Raises ApiError 400."""
        wanted = _choice(choice) if choice is not None else None
        if choice is not None and choice.type == "tool" and choice.name in self._missing:
            raise cannot(
                f"tool_choice: '{choice.name}' runs on Anthropic's servers only, no engine here can.", "tool_choice"
            )
        if wanted == "required" and self.left_out and not self.functions:
            raise cannot(f"tools: {', '.join(self.left_out)} run on Anthropic's servers only.", "tools")
        if not self.functions:
            return {}
        said: dict[str, Any] = {"tools": self.functions}
        if choice is not None:
            said["tool_choice"] = wanted
            if choice.disable_parallel_tool_use is not None:
                said["parallel_tool_calls"] = not choice.disable_parallel_tool_use
        return said


def _function(tool: Tool) -> dict[str, Any] | None:
    """As a function; None for a tool that Anthropic's servers run."""
    description, schema = tool.description, tool.input_schema
    if tool.type not in (None, "custom") and schema is None:
        known = _CLIENTS.get(_DATED.sub("", tool.type or ""))
        if known is None:
            return None
        description, schema = known
        if tool.display_width_px and tool.display_height_px:
            description += f" The screen has {tool.display_width_px} x {tool.display_height_px} pixels."
    function: dict[str, Any] = {"name": tool.name, "parameters": schema or {"type": "object"}}
    if tool.input_examples:
        examples = encode(tool.input_examples).decode()
        description = f"{description or ''}\nExamples of its input: {examples}".lstrip()
    if description is not None:
        function["description"] = description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    try:
        return {"auto": "auto", "any": "required", "none": "none"}[choice.type]
    except KeyError:
        raise malformed("tool_choice.type: expected auto, any, tool or none.", param="tool_choice") from None


# --- ids of calls

# What Anthropic's clients take as an id, and the mark of one that was written otherwise to be such.
_PLAIN_ID = re.compile(r"^[A-Za-z0-9_-]+$")
_OTHER = re.compile(r"[^A-Za-z0-9_]")
_ESCAPED = re.compile(r"-([0-9A-F]{2,6})-")
_MARK = "toolu_as_"


def told_id(engine_id: str) -> str:
    """An engine's id of a tool call as Anthropic's clients can take it. Kimi's engines read ids (`functions.get_weather:0`), so `engine_id` undoes it."""
    if _PLAIN_ID.match(engine_id) and not engine_id.startswith(_MARK):
        return engine_id
    return _MARK + _OTHER.sub(lambda found: f"-{ord(found.group()):02X}-", engine_id)


def engine_id(told: str) -> str:
    """The id as the engine gave it."""
    if not told.startswith(_MARK):
        return told
    return _ESCAPED.sub(lambda found: _char(int(found.group(1), 16)), told.removeprefix(_MARK))


def _char(code: int) -> str:
    return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else "\ufffd"
