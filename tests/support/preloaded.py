# SPDX-License-Identifier: Apache-2.0
"""Imported by the process that `forked` forks from: what each of its children would load anew is loaded here once."""

from __future__ import annotations

import pytest  # noqa: F401  # pylint: disable=unused-import
from moto.core.utils import get_service_model

import ansible_collections.amazon.aws.plugins.module_utils.retries  # noqa: F401  # pylint: disable=unused-import
import local.aws.server  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.llm.on_eks.plugins.module_utils.aws import catalog  # noqa: F401  # pylint: disable=unused-import
from tests.support.aws_process import SERVICES, SESSION

for _service in SERVICES:
    get_service_model(_service)
    SESSION.client(_service, endpoint_url="http://127.0.0.1:1")
