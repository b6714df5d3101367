# SPDX-License-Identifier: Apache-2.0
"""Imported by the process that runs are forked from: what each of them would read anew is read here once."""

from __future__ import annotations

import ansible_collections.amazon.aws.plugins.module_utils.retries  # noqa: F401
from ansible_collections.llm.on_eks.plugins.module_utils.aws import catalog  # noqa: F401
from tests.support.aws_process import SERVICES, SESSION

for _service in SERVICES:
    SESSION.client(_service, endpoint_url="http://127.0.0.1:1")
