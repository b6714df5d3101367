# SPDX-License-Identifier: Apache-2.0
"""Tools of the Responses API as functions, and calls of them back as the items that its clients know.

A client runs its functions, its custom tools (one free text), and, where it offers them, a shell, a patch tool and a search for tools: all these
can be functions to an engine. What only OpenAI's servers run (web search, file search, images, MCP) is left out, unless the answer must use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from llm_gateway.errors import UNREADABLE, malformed
from llm_gateway.protocols.reading import cannot, encode, record, records, text

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SERVED = "runs on OpenAI's servers only, no engine here can."


def _shape(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


# Tools whose shape OpenAI has set and clients run: what they do, what they take, and where in an item that stands.
_CLIENTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "local_shell": (
        "Run a command on the user's machine.",
        _shape(["command"], command=_TEXTS, working_directory=_TEXT, timeout_ms={"type": "integer"}),
        "action",
    ),
    "shell": (
        "Run shell commands on the user's machine, side by side.",
        _shape(["commands"], commands=_TEXTS, timeout_ms={"type": "integer"}, max_output_length={"type": "integer"}),
        "action",
    ),
    "apply_patch": (
        "Create, update or delete a file of the user. `diff` is a V4A diff without its header.",
        _shape(
            ["type", "path"],
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff=_TEXT,
        ),
        "operation",
    ),
}


@dataclass(frozen=True)
class Known:
    """What a function was before it became one."""

    kind: str = "function"
    name: str = ""
    namespace: str = ""


@dataclass
class Tools:
    """The tools of one request."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, Known] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, tools: list[dict[str, Any]], namespace: str = "") -> None:
        """More tools. Raises ApiError 400."""
        for tool in tools:
            kind = text(tool.get("type"))
            if kind == "function":
                self._function(tool, Known("function", text(tool.get("name")), namespace))
            elif kind == "custom":
                self._custom(tool, namespace)
            elif kind == "namespace":
                self.add(records(tool.get("tools")), text(tool.get("name")))
            elif kind == "tool_search" and tool.get("execution") == "client":
                self._function({"description": "Search for tools.", **tool}, Known("tool_search", "tool_search"))
            elif kind in _CLIENTS:
                description, parameters, __ = _CLIENTS[kind]
                self._function({"description": description, "parameters": parameters}, Known(kind, kind))
            elif kind:
                self.left_out.append(kind)
            else:
                raise malformed("tools: each has a type.", param="tools")

    def _custom(self, tool: dict[str, Any], namespace: str) -> None:
        description = text(tool.get("description"))
        wanted = record(tool.get("format"))
        if wanted.get("type") == "grammar":
            description += (
                f"\nIts input follows this {text(wanted.get('syntax'))} grammar:\n{text(wanted.get('definition'))}"
            )
        shape = {"description": description, "parameters": _shape(["input"], input=_TEXT)}
        self._function(shape, Known("custom", text(tool.get("name")), namespace))

    def _function(self, tool: dict[str, Any], known: Known) -> None:
        name = function_name(known.name, known.namespace)
        if not name:
            raise malformed("tools: a function has a name.", param="tools")
        while name in self.known:
            if self.known[name] == known:
                return  # told twice, as results of a search for tools are
            name += "_"
        function: dict[str, Any] = {"name": name, "parameters": record(tool.get("parameters")) or {"type": "object"}}
        function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
        self.known[name] = known
        self.functions.append({"type": "function", "function": function})

    def said(self, choice: Any, parallel: bool | None) -> dict[str, Any]:
        """What a chat completion calls them. Raises ApiError 400."""
        wanted = self._choice(choice) if choice is not None else None
        if not self.functions:
            if wanted == "required" or isinstance(wanted, dict):
                raise cannot(f"tools: {', '.join(self.left_out) or 'there are none'}: {_SERVED}", "tools")
            return {}
        said: dict[str, Any] = {"tools": self.functions}
        if wanted is not None:
            said["tool_choice"] = wanted
        if parallel is not None:
            said["parallel_tool_calls"] = parallel
        return said

    def _choice(self, choice: Any) -> str | dict[str, Any]:
        if choice in ("auto", "none", "required"):
            return str(choice)
        kind = text(record(choice).get("type"))
        if kind == "allowed_tools":
            return self._allow(record(choice))
        if kind in ("function", "custom") or kind in _CLIENTS:
            name = self._named(record(choice))
            if name is None:
                raise malformed(
                    f"tool_choice: no tool is called '{text(record(choice).get('name')) or kind}'.", param="tool_choice"
                )
            return {"type": "function", "function": {"name": name}}
        if kind in self.left_out or kind.startswith(
            ("web_search", "file_search", "image_gen", "code_int", "computer", "mcp")
        ):
            raise cannot(f"tool_choice: '{kind}' {_SERVED}", "tool_choice")
        raise malformed("tool_choice: expected auto, none, required, a tool, or allowed_tools.", param="tool_choice")

    def _named(self, tool: dict[str, Any]) -> str | None:
        """The function that is meant by what names a tool."""
        wanted = text(tool.get("name")) or text(tool.get("type"))
        return next((name for name, known in self.known.items() if wanted in (known.name, name)), None)

    def _allow(self, choice: dict[str, Any]) -> str:
        """Leave only the tools that may be used now. (Engines know no such choice.)"""
        allowed = {self._named(tool) for tool in records(choice.get("tools"))}
        self.functions = [tool for tool in self.functions if tool["function"]["name"] in allowed]
        mode = choice.get("mode", "auto")
        if mode not in ("auto", "required"):
            raise malformed("tool_choice.mode: expected auto or required.", param="tool_choice")
        return str(mode)


def function_name(name: str, namespace: str) -> str:
    """What a function of a namespace is called where there are none."""
    return f"{namespace}__{name}" if namespace else name


def _object(arguments: str) -> dict[str, Any]:
    try:
        return record(msgspec.json.decode(arguments.encode()))
    except (*UNREADABLE, UnicodeEncodeError):
        return {}


def call_item(known: Known, number: str, call_id: str, arguments: str, status: str) -> dict[str, Any]:
    """A call as the item that a client knows. `number` tells items of one answer apart."""
    if status == "completed":
        arguments = (
            arguments.strip() or "{}"
        )  # a tool that takes nothing is called with nothing; JSON it must be all the same
    head: dict[str, Any] = {"call_id": call_id, "status": status}
    if known.kind == "function":
        item = {"type": "function_call", "id": f"fc_{number}", **head, "name": known.name, "arguments": arguments}
        return item | ({"namespace": known.namespace} if known.namespace else {})
    if known.kind == "custom":
        said = _object(arguments).get("input")
        given = said if isinstance(said, str) else arguments
        item = {"type": "custom_tool_call", "id": f"ctc_{number}", **head, "name": known.name, "input": given}
        return item | ({"namespace": known.namespace} if known.namespace else {})
    said = _object(arguments)
    if known.kind == "tool_search":
        return {"type": "tool_search_call", "id": f"tsc_{number}", **head, "execution": "client", "arguments": said}
    if known.kind == "local_shell":
        said = {"type": "exec", "env": {}, **said}
    place = _CLIENTS[known.kind][2]
    return {"type": f"{known.kind}_call", "id": f"sh_{number}", **head, place: said}


def arguments_of(item: dict[str, Any]) -> str:
    """The arguments of the function that an earlier call's item stands for."""
    kind = text(item.get("type"))
    if kind == "function_call":
        given = item.get("arguments")
        return (given.strip() or "{}") if isinstance(given, str) else encode(record(given)).decode()
    if kind == "custom_tool_call":
        return encode({"input": text(item.get("input"))}).decode()
    said = record(item.get("action")) or record(item.get("operation")) or item.get("arguments")
    if isinstance(said, str):
        return said
    left = ("env",) if not record(record(said).get("env")) else ()
    shown = {name: value for name, value in record(said).items() if name not in left and value != "exec"}
    return encode(shown).decode()
