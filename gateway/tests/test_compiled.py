# SPDX-License-Identifier: Apache-2.0
"""The compiled part does what the sources say: the data path's tests pass with it, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# Those that go through what is compiled, and are quick.
DATA_PATH = (
    "routing",
    "data_path",
    "digest_table",
    "disconnect_and_drain",
    "engine_connection",
    "failover",
    "fair_queue",
    "hostile_input",
    "keys",
    "limits",
    "models",
    "tracing",
)
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif("LLM_GATEWAY_SOURCE" in os.environ, reason="these tests run inside one of these tests"),
]


@pytest.fixture(scope="module")
def compiled() -> Path:
    """Where the sources lie with their compiled part."""
    cache = Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks") / "gateway-compiled"
    tool = HERE.parent / "build_tools" / "compiled_copy.py"
    command = [sys.executable, str(tool), str(cache)]
    # What is compiled is under test here, and not how fast it is.
    environment = {**os.environ, "LLM_GATEWAY_OPTIMIZE": "0"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode == 3:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


def where(source: Path, **environment: str) -> str:
    program = "import llm_gateway.data_path.exchange as module; print(module.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(source), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


def test_compiled_modules_are_used_where_there_are_any(compiled: Path) -> None:
    assert where(compiled).endswith(".so")


def test_the_sources_are_used_where_somebody_says_so(compiled: Path) -> None:
    assert where(compiled, LLM_GATEWAY_PURE="1").endswith(".py")


@pytest.mark.parametrize(
    ("said", "compiler", "tried"),
    [("0", "sh", False), ("1", "no-such-compiler", True), ("", "no-such-compiler", False)],
)
def test_installing_needs_a_compiler_only_where_there_is_one_or_somebody_says_so(
    said: str, compiler: str, tried: bool
) -> None:
    program = (
        "import sysconfig; known = sysconfig.get_config_var; "
        "sysconfig.get_config_var = lambda name: sys.argv[1] if name == 'CC' else known(name); "
        "import backend; print(backend.get_requires_for_build_wheel())"
    )
    found = subprocess.run(
        [sys.executable, "-c", "import sys; " + program, compiler],
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "build_tools"), "LLM_GATEWAY_COMPILE": said},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("mypyc" in found.stdout) is tried


def passes(compiled: Path, *arguments: str) -> None:
    """Run tests in another process, on the compiled copy."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=HERE.parent.parent,
        env={**os.environ, "LLM_GATEWAY_SOURCE": str(compiled)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_the_data_path_passes_its_tests_compiled(compiled: Path) -> None:
    passes(compiled, "-m", "not full and not perf", *(f"gateway/tests/test_{name}.py" for name in DATA_PATH))


@pytest.mark.full
def test_the_gateway_passes_all_its_tests_compiled(compiled: Path) -> None:
    passes(compiled, "gateway/tests")
