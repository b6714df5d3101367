# SPDX-License-Identifier: Apache-2.0
"""The emulator's own addresses, below /_emulator: health, faults, page size, quotas, endpoints, calls, token review."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from .config import EmulatorConfig
from .elb import release_stuck
from .errors import EmulatorError
from .failing import failing
from .faults import Faults
from .instance_events import interrupt
from .paging import Pages
from .protocol import Answer
from .quotas import quotas
from .token_review import review
from .world import Session, Statement, World

ROOT = "/_emulator/"


class Emulator(Protocol):
    """The parts of the emulator that these addresses need."""

    config: EmulatorConfig
    world: World
    faults: Faults
    pages: Pages
    calls: Counter[str]
    ahead: float

    def session(self, region: str, access_key: str) -> Session: ...


def changes_state(method: str, path: str, body: bytes = b"") -> bool:
    """Whether the request belongs in the journal: faults, denials, page sizes and counts belong to the process alone.

    Faults that let creations fail belong in it: their outcome is part of the account.
    """
    if path.startswith(f"{ROOT}interruptions/"):
        return True
    if path.removeprefix(ROOT) == "faults":
        return method == "DELETE" or b'"fails"' in body
    return method == "PUT" and path.removeprefix(ROOT).split("/")[0] in ("endpoints", "leaking", "quotas", "stuck")


def gives_rights(method: str, path: str) -> bool:
    """Whether the request could redirect clients, and their tokens, elsewhere."""
    return method == "PUT" and path.removeprefix(ROOT).startswith("endpoints/")


def answer(emulator: Emulator, method: str, path: str, body: bytes) -> Answer:
    """Carry out one request to an address of ours."""
    try:
        document = json.loads(body) if body else {}
        return _json(200, _answer(emulator, method, path.removeprefix(ROOT).split("/"), document))
    except (EmulatorError, KeyError, TypeError, ValueError) as error:
        return _json(400, {"error": str(error)})


def _answer(emulator: Emulator, method: str, parts: list[str], given: Any) -> Any:
    match method, parts:
        case "GET", ["health"]:
            return {"ok": True, "account": emulator.config.account, "caller": emulator.config.caller_arn}
        case "POST", ["faults"]:
            if given.get("kind") == "fails":
                emulator.world.failing.append(failing(given))
            else:
                emulator.faults.add(given)
        case "DELETE", ["faults"]:
            emulator.faults.clear()
            emulator.world.failing.clear()
        case "PUT", ["clock"]:
            emulator.ahead = max(emulator.ahead, float(given["ahead"]))
        case "PUT", ["page-size"]:
            emulator.pages.cap = int(given["items"])
        case "GET", ["calls"]:
            return emulator.calls
        case "GET", ["used"]:
            return {"actions": sorted(emulator.world.used)}
        case "DELETE", ["calls"]:
            emulator.calls.clear()
        case "GET", ["endpoints", cluster]:
            endpoint, authority = emulator.world.endpoints.get(cluster, ("", ""))
            return {"endpoint": endpoint, "ca": authority}
        case "PUT", ["endpoints", cluster]:
            emulator.world.endpoints[cluster] = (given["endpoint"], given.get("ca", ""))
        case "PUT", ["denied"]:
            emulator.world.denied = [str(action) for action in given["actions"]]
        case "PUT", ["allowed"]:
            actions = given.get("actions")
            emulator.world.allowed = given.get("statements") or (None if actions is None else anywhere(actions))
        case "PUT", ["stuck", region]:
            emulator.world.stuck = [str(name) for name in given["load_balancers"]]
            if not emulator.world.stuck:
                release_stuck(emulator.session(region, emulator.config.access_key))
        case "PUT", ["leaking"]:
            emulator.world.leaking = bool(given["interfaces"])
        case "POST", ["interruptions", region, instance]:
            interrupt(emulator.session(region, emulator.config.access_key), instance, given.get("kind", "spot"))
        case "PUT", ["quotas", region, code]:
            quotas(emulator.session(region, emulator.config.access_key))[code]["value"] = float(given["value"])
        case "POST", ["eks", region, cluster, "token-review"]:
            return review(emulator.session(region, emulator.config.access_key), cluster, given)
        case _:
            raise EmulatorError(f"aws emulator: no address {method} {ROOT}{'/'.join(parts)}")
    return {}


def anywhere(actions: Sequence[str]) -> list[Statement]:
    """A policy's statements that allow these actions on everything."""
    return [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]


def _json(status: int, document: Any) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
