# SPDX-License-Identifier: Apache-2.0
"""What runs that were killed leave behind does not stop the next one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local.kubernetes import pki
from local.kubernetes.alone import alone
from local.kubernetes.config import ClusterConfig
from tools import debian

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path):
    return ClusterConfig("interrupted", state_root=tmp_path)


def test_a_cluster_is_changed_by_one_at_a_time_even_when_its_folder_goes_in_between(config):
    inside, order, said = threading.Event(), [], []

    def second():
        inside.wait(20)
        with alone(config, said.append):
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with alone(config, said.append):
        inside.set()
        other.join(0.3)
        shutil.rmtree(config.state)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
    assert said == ["another run changes this cluster: waiting for it"]
    assert config.state.is_dir()


def test_certificates_of_two_kinds_are_made_anew(config, tmp_path):
    folder = tmp_path / "pki"
    pki.ensure(config, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert not pki.ensure(config, folder)
    pki._make_authority(folder, "front-proxy-ca", config)  # killed just after
    (folder / "admin.key").write_bytes(before["apiserver.key"])
    assert pki.ensure(config, folder)
    assert all(pki._holds(folder, identity) for identity in pki.identities(config))


@pytest.fixture
def policy(tmp_path, monkeypatch):
    file = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "_POLICY", file)
    return file


def test_our_policy_against_service_starts_goes_also_when_a_killed_run_left_it(policy):
    policy.write_text(debian._POLICY_TEXT)
    with debian._no_service_starts():
        assert policy.stat().st_mode & 0o111
    assert not policy.exists()


def test_somebodys_own_policy_stays(policy):
    policy.write_text("#!/bin/sh\nexit 0\n")
    with debian._no_service_starts():
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.programs
def test_a_virtual_environment_that_was_never_finished_is_made_anew(tmp_path):
    """`python -m venv` makes the program first, and pip last."""
    unfinished = tmp_path / "venv"
    (unfinished / "bin").mkdir(parents=True)
    (unfinished / "bin" / "python").symlink_to(sys.executable)
    script = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from pathlib import Path
from tools import venv
ran = []
venv.run = lambda *command, **_: ran.append([str(part) for part in command])
venv.install_packages(Path({str(unfinished)!r}), venv.REPO / "requirements.txt")
assert ran[0][1:4] == ["-m", "venv", "--clear"], ran
Path({str(unfinished)!r}, ".requirements").touch()
ran.clear()
venv.install_packages(Path({str(unfinished)!r}), venv.REPO / "requirements.txt")
assert "pip" in ran[0], ran
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
