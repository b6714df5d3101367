# SPDX-License-Identifier: Apache-2.0
"""A run's request, made from the options of an action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..kubernetes.aws_access import AwsAccess
from ..kubernetes.client import Client
from ..objects.data_loss import ALL
from .engine import Request
from .options import charts_from, lock_file_from, names_from


def request_from(options: Mapping[str, Any], client: Client | None, aws: AwsAccess | None, **more: Any) -> Request:
    """The request of RUN_OPTIONS; `more`: further fields of it."""
    return Request(
        descriptors=options["components"],
        client=client,
        aws=aws,
        only=names_from(options["only"]),
        charts=charts_from(options),
        lock_file=lock_file_from(options),
        **more,
    )


def comparison_from(options: Mapping[str, Any], client: Client | None, aws: AwsAccess | None) -> Request:
    """A request that only compares. It deletes nothing, so what a run would refuse to delete is a difference like any other."""
    return request_from(options, client, aws, check=True, lose_data=[ALL])
