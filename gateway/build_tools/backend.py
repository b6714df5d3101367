# SPDX-License-Identifier: Apache-2.0
"""The build backend: setuptools, and before it the question whether the optional compiled part can be built here.

`LLM_GATEWAY_COMPILE` decides: `0` never; `1` always, and a failure is one; unset: where there are a C compiler and Python's headers, and if it
fails, the package is built without. Nothing but speed depends on it.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  all other hooks are setuptools' own  # pylint: disable=unused-wildcard-import,wildcard-import

# One version, so that what is built is what was tested.
COMPILER = "mypy[mypyc]==2.4.1"
SWITCH = "LLM_GATEWAY_COMPILE"


def wanted() -> bool:
    """Whether to try."""
    said = os.environ.get(SWITCH, "")
    if said:
        return said != "0"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    return shutil.which(compiler) is not None and headers.exists()


def compiled_against() -> list[str]:
    """What the sources import: their types decide what the compiler makes of them."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["redis"]]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """See PEP 517."""
    return [COMPILER, *compiled_against()] if wanted() else []


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """See PEP 517."""
    arguments = (wheel_directory, config_settings, metadata_directory)
    said = os.environ.get(SWITCH, "")
    if wanted():
        os.environ[SWITCH] = "1"
        try:
            return build_meta.build_wheel(*arguments)
        except (Exception, SystemExit) as error:
            if said == "1":
                raise
            sys.stderr.write(f"llm-gateway: the compiled part cannot be built, going on without it: {error}\n")
        shutil.rmtree("build", ignore_errors=True)
    os.environ[SWITCH] = "0"
    return build_meta.build_wheel(*arguments)
