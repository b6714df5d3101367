# SPDX-License-Identifier: Apache-2.0
"""The options that several of our actions share, and the objects made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...module_utils.aws.base.connection import Connection, EmptyAccount
from ..helm.options import ChartOptions
from ..kubernetes.aws_access import AwsAccess, NoClusterError
from ..kubernetes.client import Client
from ..kubernetes.connection import connect

# Named as kubernetes.core names them; documented in plugins/doc_fragments/kubernetes.py.
CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "kubeconfig": {"type": "path", "default": ""},
    "context": {"type": "str", "default": ""},
    "host": {"type": "str", "default": ""},
    "api_key": {"type": "str", "default": "", "no_log": True},
    "ca_cert": {"type": "path", "default": ""},
    "client_cert": {"type": "path", "default": ""},
    "client_key": {"type": "path", "default": "", "no_log": False},
    "validate_certs": {"type": "bool", "default": True},
    "proxy": {"type": "str", "default": ""},
    "impersonate_user": {"type": "str", "default": ""},
    "impersonate_groups": {"type": "list", "elements": "str", "default": []},
}


# The account, where there is one; documented in plugins/doc_fragments/aws_account.py.
AWS_OPTIONS: dict[str, dict[str, Any]] = {
    "cluster": {"type": "str", "default": ""},
    "aws": {
        "type": "dict",
        "default": {},
        "options": {
            "region": {"type": "str", "default": ""},
            "profile": {"type": "str", "default": ""},
            "credentials_file": {"type": "path", "default": ""},
            "endpoint_url": {"type": "str", "default": ""},
            "lock_bucket": {"type": "str", "default": ""},
        },
    },
}


CHART_OPTIONS: dict[str, dict[str, Any]] = {
    "chart_mirror": {"type": "path", "default": ""},
    "helm": {"type": "path", "default": ""},
    "lock_file": {"type": "path", "default": ""},
}


# What is converged, compared or locked; documented in plugins/doc_fragments/components.py.
COMPONENT_OPTIONS: dict[str, dict[str, Any]] = {
    "components": {"type": "list", "elements": "dict", "required": True},
    "only": {"type": "raw", "default": []},
}


# What actions take that compare or converge the described components.
RUN_OPTIONS: dict[str, dict[str, Any]] = {**COMPONENT_OPTIONS, **CHART_OPTIONS, **CONNECTION_OPTIONS, **AWS_OPTIONS}


def lock_file_from(options: Mapping[str, Any]) -> Path | None:
    """The lock file; None where none is given."""
    return Path(options["lock_file"]) if options["lock_file"] else None


def charts_from(options: Mapping[str, Any]) -> ChartOptions:
    """Where charts come from and what renders them."""
    mirror = options["chart_mirror"]
    return ChartOptions(mirror=Path(mirror).expanduser() if mirror else None, helm=options["helm"])


def aws_from(options: Mapping[str, Any], *, empty: bool = False) -> AwsAccess | None:
    """The account; None where no region is given. `empty`: plan as for an empty account, without calls. Raises AwsError."""
    aws = options.get("aws") or {}
    if not aws.get("region"):
        return None
    if empty:
        return AwsAccess(EmptyAccount(aws["region"]), options["cluster"])
    connection = Connection.open(
        aws["region"],
        profile=aws.get("profile") or "",
        credentials_file=aws.get("credentials_file") or "",
        endpoint_url=aws.get("endpoint_url") or "",
    )
    # The identity is asked first: without valid credentials every resource would fail.
    connection.identity  # noqa: B018
    return AwsAccess(connection, options["cluster"], aws.get("lock_bucket") or "")


def client_from(options: Mapping[str, Any], aws: AwsAccess | None = None) -> Client:
    """A client for the cluster that the options name: the account's, else that of the kubeconfig.

    Raises ConnectionError, AwsError, NoClusterError.
    """
    if aws is not None:
        client = aws.client()
        if client is None:
            raise NoClusterError(aws.missing)
        return client
    return Client(connect(**{name: options[name] for name in CONNECTION_OPTIONS}))


def plain(value: Any) -> Any:
    """Ansible's tagged values as plain Python types: libraries written in C accept no others."""
    return json.loads(json.dumps(value, default=str))


def names_from(value: Any) -> list[str]:
    """Names from a list, or from a comma-separated string of the command line."""
    parts = value.split(",") if isinstance(value, str) else [str(item) for item in value or []]
    return [name for part in parts if (name := part.strip())]
