# SPDX-License-Identifier: Apache-2.0
"""An emulated AWS account as a process of its own, for tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
import urllib.request
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import boto3
from botocore.config import Config

from local.aws import __main__ as emulator
from tests.support import forked

REPO = Path(__file__).resolve().parents[2]
REGION = "us-west-2"
KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


def _serve(arguments: list[str], stdout: Connection) -> None:
    """In the emulator's process: what `python -m local.aws serve ARGUMENTS` does."""
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    sys.argv = ["local.aws", "serve", *arguments]
    emulator.main()


class EmulatedAws:
    """`arguments` as of `python -m local.aws serve`."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.process: ForkServerProcess | None = None
        self.url = ""
        # Where its one cluster really is: `endpoint` and `ca`; empty where there is none.
        self.real_cluster: dict[str, str] = {}
        self._clients: dict[tuple, object] = {}

    def start(self) -> EmulatedAws:
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"  # after a restart at the same address
        places = [] if "--listen" in self.arguments else ["--listen", listen]
        ours, theirs = multiprocessing.Pipe(duplex=False)
        self.process = forked.start(_serve, [*places, *self.arguments], theirs)
        theirs.close()
        with open(ours.fileno(), closefd=False) as stdout:
            line = stdout.readline()
        assert line, "the emulator did not start"
        url = json.loads(line)["endpoints"][0]
        if url != self.url:
            self.url = url
            self._clients.clear()
        return self

    def __enter__(self) -> EmulatedAws:
        return self.start()

    def __exit__(self, *__: object) -> None:
        self.kill()

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(10)
        assert self.process.exitcode is not None, "the emulator did not stop"

    def client(self, service: str, *, region: str = REGION, attempts: int = 1, keys: dict | None = None):
        key = (service, region, attempts, json.dumps(keys))
        if key not in self._clients:
            config = Config(retries={"total_max_attempts": attempts})
            self._clients[key] = boto3.client(
                service, endpoint_url=self.url, region_name=region, config=config, **(keys or KEYS)
            )
        return self._clients[key]

    def admin(self, method: str, path: str, body: dict | None = None):
        request = urllib.request.Request(
            f"{self.url}/_emulator/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def quiet(self) -> None:
        """Waits until what was sent by somebody who is gone has been carried out: nobody calls for half a second."""
        before = None
        while before != (before := self.admin("GET", "calls")):
            time.sleep(0.5)

    def environment(self) -> dict[str, str]:
        """What a program needs to use this account."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def reset(self) -> None:
        """Faults and pages away; the account stays."""
        self.admin("DELETE", "faults")
        self.admin("PUT", "page-size", {"items": 0})


def trust(*services: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": list(services)}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# Who may have the roles of tests, where it does not matter.
ANY = ("eks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com")


def make_role(aws: EmulatedAws, name: str, *services: str, region: str = REGION) -> str:
    """Its ARN, in the partition of the region."""
    iam = aws.client("iam", region=region)
    return iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(*(services or ANY)))["Role"]["Arn"]


def make_subnets(aws: EmulatedAws, *, zones: str = "ab", cidr: str = "10.7") -> tuple[str, list[str]]:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=f"{cidr}.0.0/16")["Vpc"]["VpcId"]
    made = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"{cidr}.{index}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for index, zone in enumerate(zones)
    ]
    return vpc, [subnet["SubnetId"] for subnet in made]
