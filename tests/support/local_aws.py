# SPDX-License-Identifier: Apache-2.0
"""Clients of a local cluster's emulated account, whatever AWS settings the user's environment has."""

from __future__ import annotations

from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config

from ansible_collections.llm.on_eks.plugins.module_utils.aws.connection import Connection


def session_of(credentials_file: str | Path, region: str) -> boto3.session.Session:
    """A session that knows this file alone: with a profile named, botocore passes by keys in the environment."""
    core = botocore.session.Session(profile="default")
    core.set_config_variable("config_file", str(credentials_file))
    core.set_config_variable("credentials_file", str(credentials_file))
    return boto3.session.Session(botocore_session=core, region_name=region)


def connect(credentials_file: str | Path, region: str, endpoint_url: str) -> Connection:
    session = session_of(credentials_file, region)
    config = Config(retries={"mode": "standard", "total_max_attempts": 2}, proxies={})
    return Connection(lambda service: session.client(service, endpoint_url=endpoint_url, config=config), region)
