# SPDX-License-Identifier: Apache-2.0
"""The gateway's own OpenAPI document, and schemathesis with it: good and bad requests of every kind, each answered as the document says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from gateway_support.chat import whole
from gateway_support.house import KEY, Front, House
from gateway_support.scripted import scripted
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks as conformance

from llm_gateway.protocols import tables
from llm_gateway.web.openapi import document

pytestmark = pytest.mark.slow

DOCUMENT = json.loads(document())
GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
OPERATIONS = [(path, method, GOOD) for path, methods in DOCUMENT["paths"].items() for method in methods]
# What takes nothing cannot be given anything bad.
OPERATIONS += [(path, method, BAD) for path, method, __ in OPERATIONS if method == "post"]
# An example that takes this long has hung.
TIMEOUT_S = 20


def test_the_document_is_valid_and_has_every_path_of_the_data_path(house: House) -> None:
    validate(DOCUMENT)
    served = {path.decode() for path in tables.NATIVE | tables.CLIENTS.keys()}
    assert served <= DOCUMENT["paths"].keys()
    assert house.front(house.engine()).get("/openapi.json", key=None).json == DOCUMENT


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
@pytest.mark.parametrize("count", [6, pytest.param(1000, marks=pytest.mark.full)])
def test_every_answer_is_one_that_the_document_names(
    house: House, count: int, path: str, method: str, mode: Any
) -> None:
    # An engine that answers at once, whatever number of tokens it is asked for.
    answers = {"/v1/chat/completions": json.loads(whole({"content": "x"})), "/tokenize": {"count": 1, "tokens": [1]}}
    answers["/v1/completions"] = {"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}
    answers |= {
        each: {"data": []} for each in ("/v1/embeddings", "/v1/rerank", "/rerank", "/v1/score", "/score", "/detokenize")
    }
    with scripted(answers) as engine:
        front = house.front(engine)
        schema = schemathesis.openapi.from_dict(DOCUMENT)
        operation = schema[path][method.upper()]

        @settings(
            max_examples=count,
            derandomize=count < 100,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and mode is GOOD:
                case.body["model"] = "tiny"
            reply = case.call(base_url=front.url, headers={"authorization": f"Bearer {KEY}"}, timeout=TIMEOUT_S)
            assert reply.status_code < 500 or reply.status_code in (501, 505), reply.text[:300]
            case.validate_response(
                reply,
                checks=[
                    schemathesis.checks.not_a_server_error,
                    conformance.status_code_conformance,
                    conformance.content_type_conformance,
                    conformance.response_schema_conformance,
                ],
            )

        check()
        alive(front)


def alive(front: Front) -> None:
    """Whatever was sent, the gateway serves the next one."""
    assert front.get("/healthz", key=None).status == 200
    assert not front.gateway.active
