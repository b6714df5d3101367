# SPDX-License-Identifier: Apache-2.0
"""Machines as users have them: IPv6, a firewall that drops what comes in, a proxy in the environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from local.kubernetes.config import AwsConfig, ClusterConfig
from local.kubernetes.environment import without_proxies
from local.kubernetes.pause import REFERENCE
from local.kubernetes.supervise import Supervisor
from tests.support.cluster_client import kubectl
from tests.support.cluster_names import cluster_name
from tools.obtain import default_cache

REPO = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.cluster


class Machine:
    """Runs a cluster; `prefix` is what each command begins with, `environment` is added to ours."""

    def __init__(self, config, prefix=(), **environment):
        self.config, self.prefix = config, list(prefix)
        self.environment = {**os.environ, **environment}

    def run(self, *command, timeout=300):
        done = subprocess.run(
            [*self.prefix, *map(str, command)],
            cwd=REPO,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def local(self, verb, *more):
        chosen = ["--name", self.config.name, "--ip-family", self.config.ip_family, "--aws"]
        return json.loads(self.run(sys.executable, "-m", "local.kubernetes", verb, *chosen, *more))

    def __enter__(self):
        self.status = self.local("up")
        return self

    def __exit__(self, *__):
        self.local("down")
        assert not self.config.state.exists()
        assert not Path("/run/netns", self.config.namespace).exists()

    def review(self):
        """What the API server says of a token that it has to ask the emulator about; another one each time, for it remembers answers."""
        binary = next(default_cache().glob("tools/kubectl/*/kubectl"))
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        command = [binary, "--kubeconfig", self.status["kubeconfig"], "create", "-f", "-", "-o", "json"]
        said = subprocess.run(
            [*self.prefix, *map(str, command)],
            input=json.dumps({**document, "spec": {"token": f"k8s-aws-v1.{uuid.uuid4().hex}"}}),
            env=without_proxies(),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return json.loads(said.stdout)["status"].get("error", "")


def config(purpose, **options):
    return ClusterConfig(cluster_name(purpose), aws=AwsConfig(), **options)


def look_up(namespace, address, name):
    """The AAAA record of a name, asked for inside a network namespace."""
    script = f"""
import socket, struct
name = b"".join(bytes([len(part)]) + part.encode() for part in {name!r}.split("."))
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + b"\\0" + struct.pack(">2H", 28, 1)
asked = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
asked.settimeout(5)
asked.sendto(query, ({address!r}, 53))
print(socket.inet_ntop(socket.AF_INET6, asked.recv(512)[-16:]))
"""
    command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_a_cluster_of_ipv6_alone():
    with Machine(config("v6", ip_family="ipv6")) as machine:
        file, cluster = machine.status["kubeconfig"], machine.config
        pod = {
            "containers": [{"name": "p", "image": REFERENCE, "imagePullPolicy": "Never"}],
            "automountServiceAccountToken": False,
        }
        # The controller manager makes it a moment after the namespace, and no pod is taken before.
        kubectl(file, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        kubectl(
            file, "apply", "-f", "-", given={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        )
        kubectl(file, "wait", "--for=condition=Ready", "pod/p", "--timeout=60s")
        found = json.loads(kubectl(file, "get", "pod", "p", "-o", "json"))["status"]["podIPs"]
        assert [address["ip"].startswith("2001:2:0:1:") for address in found] == [True]
        asked = look_up(cluster.namespace, cluster.dns_service, "kubernetes.default.svc.cluster.local")
        assert asked == cluster.api_service
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, cluster.front_door), timeout=5).close()
        assert "Post" not in machine.review()


@pytest.fixture
def behind_a_firewall():
    """A network of its own as the machine, whose firewall lets in what was asked for and loopback, as ufw does."""
    name = cluster_name("fw")
    enter = ["nsenter", f"--net=/run/netns/{name}", "--"]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for rule in (
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-P INPUT DROP",
        ):
            subprocess.run([*enter, "iptables", *rule.split()], check=True)
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        yield enter
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_firewall_that_drops_what_comes_in(behind_a_firewall):
    begun = time.monotonic()
    with Machine(config("drop"), behind_a_firewall) as machine:
        assert "Post" not in machine.review()
        assert machine.run("iptables", "-S").count("\n") == 5, "three policies and two rules: the firewall is as it was"
    assert time.monotonic() - begun < 240


def test_a_proxy_that_leads_nowhere_is_not_asked_for_what_is_here():
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    with Machine(config("proxy"), **nowhere) as machine:
        assert machine.status["ready"]
        assert "Post" not in machine.review()
        Supervisor(machine.config)._call("stopProcess", "aws")
        assert "Post" in machine.review(), "what cannot be asked is said to be so"
