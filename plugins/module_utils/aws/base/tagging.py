# SPDX-License-Identifier: Apache-2.0
"""How AWS's services write tags, as data: two operations, the parameter for the resource, and the form of the tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...names import TAG_NAME
from .unknown import is_unknown

# Limits that all services share. Letters and digits are those of any language.
_LONGEST_KEY, _LONGEST_VALUE, _MOST = 128, 256, 50
_NO_TAG = re.compile(r"[^\w\s.:/=+\-@]")
Form = Literal["map", "list", "kms"]
# One call: operation and parameters.
Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Tagging:
    """`holder`: member of the state that identifies the resource in the parameter `on`; `several`: `on` takes a list.

    `whole`: the service cannot write a single tag: `put` replaces them all.
    """

    on: str
    holder: str
    put: str = "tag_resource"
    take: str = "untag_resource"
    tags: str = "Tags"
    keys: str = "TagKeys"
    form: Form = "list"
    several: bool = False
    keys_as_tags: bool = False
    whole: bool = False

    def calls(
        self, state: Mapping[str, Any], have: Mapping[str, str], to_set: Mapping[str, str], to_unset: list[str]
    ) -> list[Call]:
        """The calls that write the tags. `have`: the current tags."""
        where = {self.on: [state[self.holder]] if self.several else state[self.holder]}
        if self.whole:
            tags = {**{key: value for key, value in have.items() if key not in to_unset}, **to_set}
            return [(self.put, {**where, self.tags: {"TagSet": tag_list(tags)}})] if tags else []
        found: list[Call] = []
        if to_set:
            found.append((self.put, {**where, self.tags: _FORMS[self.form](to_set)}))
        if to_unset:
            keys: Any = [{"Key": key} for key in to_unset] if self.keys_as_tags else to_unset
            found.append((self.take, {**where, self.keys: keys}))
        return found


def own_name(tags: Mapping[str, str]) -> str:
    """The name that we gave it. `Name`, which people may change, counts where our mark is not there."""
    return tags.get(TAG_NAME, tags.get("Name", ""))


def fault(tags: Mapping[str, Any], service: str = "") -> str:
    """Which tag the service refuses, in words; empty where all are sound. EC2 takes any character, other services do not.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
    """
    for key, value in ((str(key), str(value)) for key, value in tags.items() if not is_unknown([key, value])):
        if not 1 <= len(key) <= _LONGEST_KEY:
            return f"the tag {_shown(key)} has {len(key)} characters, 1 to {_LONGEST_KEY} are allowed"
        if key.lower().startswith("aws:"):
            return f"the tag {key!r} begins with aws:, which only AWS may write"
        if len(value) > _LONGEST_VALUE:
            return f"the tag {key!r} has a value of {len(value)} characters, {_LONGEST_VALUE} at most are allowed"
        for text in (key, value):
            if service != "ec2" and (bad := re.search(_NO_TAG, text)):
                return f"the tag {key!r} has the character {bad[0]!r}; letters, digits, spaces and _ . : / = + - @ are allowed"
    if len(tags) > _MOST:
        return f"there are {len(tags)} tags, {_MOST} at most are allowed"
    return ""


def _shown(key: str) -> str:
    return repr(key if len(key) < 40 else f"{key[:36]}...")


def tag_map(tags: Any) -> dict[str, str]:
    """Tags as a plain map, from any of AWS's forms."""
    if isinstance(tags, Mapping):
        return {str(key): str(value) for key, value in tags.items()}
    return {str(tag.get("Key", tag.get("TagKey"))): str(tag.get("Value", tag.get("TagValue", ""))) for tag in tags}


def tag_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Tags as a list of pairs."""
    return [{key: name, value: text} for name, text in tags.items()]


def _kms(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return tag_list(tags, "TagKey", "TagValue")


_FORMS: dict[Form, Callable[[Mapping[str, str]], Any]] = {"map": dict, "list": tag_list, "kms": _kms}
