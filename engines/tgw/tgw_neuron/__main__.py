# SPDX-License-Identifier: Apache-2.0
"""python -m tgw_neuron [--check] [flags of upstream's server.py]"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Sequence

from . import patches
from .check import check
from .drain import Drain
from .engine import Engine
from .errors import OverlayError, SettingsError
from .hooks import Finder
from .settings import Settings, from_environment

log = logging.getLogger(__package__)


def main(arguments: Sequence[str]) -> int:
    try:
        settings = from_environment()
        if not (settings.root / "server.py").is_file():
            raise SettingsError(
                f"TGW_ROOT is {settings.root}, which has no server.py: give Text Generation WebUI's folder"
            )
        if "--check" in arguments:
            return _check(settings)
        _serve(settings, arguments)
    except OverlayError as problem:
        print(f"tgw_neuron: {problem}.", file=sys.stderr, flush=True)
        return 2
    return 0


def _prepare(settings: Settings, arguments: Sequence[str], engine: Engine) -> None:
    root = str(settings.root.resolve())
    os.chdir(root)
    sys.path.insert(0, root)
    kept, forced = without_our_loader(arguments)
    sys.argv = [os.path.join(root, "server.py"), *kept]  # noqa: PTH118 - argv holds strings
    finder = Finder()
    patches.install(finder, engine, forced=forced)
    finder.install()


def _check(settings: Settings) -> int:
    _prepare(settings, ["--nowebui", "--api"], Engine(settings))
    for sentence in check(settings.root.resolve()):
        print(f"ok: {sentence}")
    return 0


def _serve(settings: Settings, arguments: Sequence[str]) -> None:
    engine = Engine(settings)

    def close_the_door() -> None:
        engine.admission.draining = True

    Drain(close_the_door, lambda: engine.admission.idle, settings.drain_s).install()
    _prepare(settings, arguments, engine)
    runpy.run_path(sys.argv[0], run_name="__main__")


def without_our_loader(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The flags for upstream, and whether they asked for our loader: upstream forgets loaders that it does not know."""
    kept: list[str] = []
    forced = False
    rest = iter(arguments)
    for argument in rest:
        name, __, value = argument.partition("=")
        if name != "--loader":
            kept.append(argument)
            continue
        value = value or next(rest, "")
        if value == patches.LOADER:
            forced = True
        else:
            kept += ["--loader", value]
    return kept, forced


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
