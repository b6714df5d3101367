# SPDX-License-Identifier: Apache-2.0
"""Programs of AWS's that the Go module proxy does not have: tests run those that lie in the cache, each with its custom resource definitions.

CACHE/judges/NAME/program and CACHE/judges/NAME/crds/*.yaml; CACHE is LLM_ON_EKS_CACHE or ~/.cache/llm.on_eks.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from local.kubernetes import controllers
from local.kubernetes.config import ClusterConfig
from tests.support.emulated_aws import EmulatedAws
from tools import obtain


def folder_of(name: str) -> Path:
    """Where it lies. Skips the test where it does not."""
    folder = obtain.default_cache() / "judges" / name
    if not (folder / "program").exists():
        pytest.skip(f"{name} is not at {folder}/program, and the Go module proxy does not have it")
    return folder


def definitions(folder: Path) -> list[dict[str, Any]]:
    """Its custom resource definitions."""
    files = sorted(folder.glob("crds/*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


def credentials(account: EmulatedAws, cluster: str, service_account: str, keys: dict[str, str]) -> dict[str, str]:
    """The environment of a session of the role that a service account in kube-system has by Pod Identity."""
    region = account.client("eks").meta.region_name
    client = boto3.client("eks-auth", endpoint_url=account.url, region_name=region, **keys)
    return controllers.pod_credentials(client, cluster, "kube-system", service_account)


def certificate(folder: Path) -> None:
    """A certificate of its own for a program's webhooks, tls.crt and tls.key."""
    folder.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=webhook", "-days", "1"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def running(config: ClusterConfig, program: Path, arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    """The program in the cluster's network, beside the emulated account; its log is with those of the cluster."""
    words = [f"{name}={value}" for name, value in environment.items()]
    log = config.state / "logs" / f"{program.parent.name}.log"
    with log.open("w") as file:
        command = [*controllers.surroundings(config), *words, str(program), *arguments]
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ})
    try:
        yield
    finally:
        child.terminate()
        child.wait(20)
