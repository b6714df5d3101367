# SPDX-License-Identifier: Apache-2.0
"""Which images a catalogue needs: those that are built here, and those of others that are mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...module_utils.errors import LlmOnEksError
from ..engines.accelerator import accelerator_of
from .reference import parse

# Engines whose image is made from engines/NAME.
_BUILT = ("llamacpp", "tgw")
# Tags of ours are made of the content: sha256-….
_OWN_TAG = "sha256-"


class WantedError(LlmOnEksError):
    """An engine has no image."""


@dataclass(frozen=True)
class Wanted:
    """`build`: names in tools/images; `mirror`: name in platform_images -> reference of its publisher."""

    build: tuple[str, ...]
    mirror: Mapping[str, str]


def wanted(catalog: Sequence[Mapping[str, Any]], components: Sequence[Mapping[str, Any]]) -> Wanted:
    """`components`: described without `platform_images`, so that they name what the publishers call it."""
    known = {str(one["name"]): one for one in components if one.get("state", "present") == "present"}
    entries = [entry for entry in catalog if entry.get("state", "present") == "present"]
    build = ["gateway"] if "gateway" in known else []
    build += ["model_store"] if entries else []
    mirror: dict[str, str] = {}
    for entry in entries:
        name = _name(entry)
        component = known.get(f"engine-{str(entry['name']).replace('.', '-')}")
        image = next(iter((component or {}).get("images") or []), "")
        if component is not None and image:
            mirror[name] = image
        elif component is not None and name in _BUILT:
            build.append(name)
        elif component is not None:
            raise WantedError(
                f"model {entry['name']} has no image: set engine_{entry['engine']}_image, or that of its accelerator"
            )
    return Wanted(tuple(dict.fromkeys(build)), mirror)


def upstream(components: Sequence[Any]) -> Iterator[str]:
    """References of others that a component names without a digest."""
    for component in components:
        for image in component.images if component.state == "present" else []:
            if image and not image.startswith("localhost/"):
                found = parse(image)
                if not found.digest and not found.tag.startswith(_OWN_TAG):
                    yield image


def _name(entry: Mapping[str, Any]) -> str:
    kind = accelerator_of(entry).kind
    engine = str(entry["engine"])
    return f"{engine}_{kind}" if engine == "vllm" and kind != "gpu" else engine
