# SPDX-License-Identifier: Apache-2.0
"""The optional compiled part: the modules that every request goes through, compiled by mypyc from the same source, and one written in C.

`build_tools/backend.py` decides whether; on its own this file compiles when `LLM_GATEWAY_COMPILE` is 1:

    LLM_GATEWAY_COMPILE=1 python setup.py build_ext --inplace

`LLM_GATEWAY_OPTIMIZE` is the C compiler's -O level: 3, or 0 for tests, which takes two thirds of the time.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# In here, everything that is not needed by each request is better left to the interpreter.
COMPILED = (
    "callers/admission.py",
    "callers/caller.py",
    "callers/fair_queue.py",
    "callers/keys.py",
    "callers/ledger.py",
    "callers/limits.py",
    "callers/redis_limits.py",
    "data_path/answers.py",
    "data_path/approach.py",
    "data_path/attempt.py",
    "data_path/client_connection.py",
    "data_path/deadlines.py",
    "data_path/exchange.py",
    "data_path/question.py",
    "data_path/relay.py",
    "data_path/reply.py",
    "data_path/request_ids.py",
    "data_path/services.py",
    "engines/address.py",
    "engines/connection.py",
    "engines/dispatch.py",
    "engines/engine.py",
    "engines/fleet.py",
    "engines/registry.py",
    "engines/routing.py",
    "gateway.py",
    "http/head.py",
    "http/origin.py",
    "http/outbox.py",
    "http/template.py",
    "protocols/openai.py",
    "telemetry/access_log.py",
    "telemetry/ended.py",
    "telemetry/instruments.py",
    "telemetry/recorder.py",
    "telemetry/span.py",
    "telemetry/tracing.py",
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
        opt_level=os.environ.get("LLM_GATEWAY_OPTIMIZE", "3"),
        debug_level="0",
        group_name="llm_gateway",
    )
    modules.append(Extension("llm_gateway.callers._digest_table", [str(source / "callers" / "_digest_table.c")]))

setup(ext_modules=modules)
