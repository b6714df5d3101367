# SPDX-License-Identifier: Apache-2.0
"""The optional compiled part: the modules that every request goes through, compiled by mypyc from the same source, and one written in C.

`build_tools/backend.py` decides whether; on its own this file compiles when `LLM_GATEWAY_COMPILE` is 1:

    LLM_GATEWAY_COMPILE=1 python setup.py build_ext --inplace
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# In here, everything that is not needed by each request is better left to the interpreter.
COMPILED = (
    "access_log.py",
    "callers.py",
    "choice.py",
    "counting.py",
    "dispatch.py",
    "exchange.py",
    "fair.py",
    "gateway.py",
    "http/connection.py",
    "http/head.py",
    "http/template.py",
    "keys.py",
    "ledger.py",
    "limits.py",
    "limits_redis.py",
    "outbox.py",
    "protocols/openai.py",
    "registry.py",
    "tracing.py",
    "upstream/connection.py",
    "upstream/engine.py",
)

modules = []
if os.environ.get("LLM_GATEWAY_COMPILE") == "1" and {"bdist_wheel", "build_ext"} & set(sys.argv):
    from mypyc.build import mypycify

    source = Path("src", "llm_gateway")
    os.environ["MYPYPATH"] = "src"
    modules = mypycify(
        [
            "--ignore-missing-imports",
            "--python-executable",
            sys.executable,
            *(str(source / name) for name in COMPILED),
        ],
        opt_level="3",
        debug_level="0",
        group_name="llm_gateway",
    )
    modules.append(Extension("llm_gateway._digest_table", [str(source / "_digest_table.c")]))

setup(ext_modules=modules)
