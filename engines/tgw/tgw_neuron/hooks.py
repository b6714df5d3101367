# SPDX-License-Identifier: Apache-2.0
"""Run a function on a module right after it is executed, before anybody can take a name out of it.

Upstream's modules import each other in circles, so importing one early changes what works: only its own order is safe.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]


class _Loader(importlib.abc.Loader):
    """The real loader, with hooks after it. What else is asked of it (sources, code) goes to the real one."""

    def __init__(self, real: Any, hooks: Sequence[Hook]) -> None:
        self.real, self.hooks = real, hooks

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self.real.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        self.real.exec_module(module)
        for hook in self.hooks:
            hook(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Finder(importlib.abc.MetaPathFinder):
    """Finds what the finders after it find, and has the hooks run."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}

    def after_import(self, name: str, hook: Hook) -> None:
        """Run `hook` on the module `name` once it is executed; at once where it is already."""
        if name in sys.modules:
            hook(sys.modules[name])
        else:
            self.hooks.setdefault(name, []).append(hook)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        hooks = self.hooks.get(name)
        if not hooks:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, hooks)
                return spec
        return None

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        sys.meta_path.remove(self)
