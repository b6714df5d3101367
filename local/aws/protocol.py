# SPDX-License-Identifier: Apache-2.0
"""From an HTTP request to (service, operation, parameters) and back, by botocore's service models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.exceptions import ParamValidationError, UnknownServiceError
from botocore.model import OperationModel
from botocore.parsers import create_parser
from botocore.validate import ParamValidator
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import HTTPException

from . import shapes
from .errors import Refusal
from .shapes_known import known_wish

# Services whose name in a signature differs from the name of botocore's model.
MODELS = {
    "elasticfilesystem": "efs",
    "servicequotas": "service-quotas",
    "api.pricing": "pricing",
}
# The API version of classic load balancers.
_CLASSIC = "2012-06-01"
_READS = re.compile(r"(Describe|List|Get|Head|Lookup|BatchGet|Simulate|Search|Select)[A-Z].*")
_CREDENTIAL = re.compile(r"Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")


@dataclass(frozen=True)
class Answer:
    """A response as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status < 400


@dataclass(frozen=True)
class Call:
    """One API call. `params` are those of the service model."""

    service: str
    operation: OperationModel
    protocol: str
    region: str
    access_key: str
    params: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.operation.name)

    @property
    def reads(self) -> bool:
        """Whether the call changes nothing."""
        return bool(_READS.fullmatch(self.name))

    def serialize(self, result: dict[str, Any]) -> Answer:
        """The answer with a result, in the form of the service model."""
        serializer = get_serializer_class(self.service, self.protocol)(self.operation)
        return _answer(serializer.serialize(result))

    def serialize_error(self, refusal: Refusal) -> Answer:
        """The answer with a refusal, in the form of the call's protocol."""
        serializer = get_serializer_class(self.service, self.protocol)(self.operation)
        error = _Error(refusal.message)
        error.code, error.message = refusal.code, refusal.message
        answer = _answer(serializer.serialize(error))
        return Answer(refusal.status, answer.headers, answer.body)

    def parse(self, answer: Answer) -> dict[str, Any]:
        """The answer as botocore's clients see it."""
        given = {"headers": answer.headers, "status_code": answer.status, "body": answer.body}
        found: dict[str, Any] = create_parser(self.protocol).parse(given, self.operation.output_shape)
        found.pop("ResponseMetadata", None)
        return found


class _Error(Exception):
    code: str
    message: str


def credential(request: Request) -> tuple[str, str, str] | None:
    """(access key, region, signing name) of a signed request, whether by header or by query; None for an unsigned one."""
    found = _CREDENTIAL.search(request.headers.get("Authorization", ""))
    if found:
        return found[1], found[3], found[4]
    query = parse_qs(request.query_string.decode()).get("X-Amz-Credential", [""])[0]
    parts = unquote(query).split("/")
    return (parts[0], parts[2], parts[3]) if len(parts) == 5 else None


def identify(request: Request) -> Call | None:
    """The API call of a request. None for an unsigned request, or a service that botocore does not know.

    Raises Refusal for an operation or parameters that the service model does not have.
    """
    signed = credential(request)
    if signed is None:
        return None
    access_key, region, name = signed
    service = MODELS.get(name, name)
    if name == "elasticloadbalancing":
        # Classic load balancers are signed with the same name.
        service = "elb" if f"Version={_CLASSIC}" in request.get_data(as_text=True) else "elbv2"
    try:
        model = get_service_model(service)
    except UnknownServiceError:
        return None
    try:
        protocol = determine_request_protocol(model, request.content_type)
        operation, uri_params = get_service_router(service).match(request)
    except (HTTPException, NotImplementedError, KeyError):
        raise Refusal("UnknownOperationException", f"{service} has no operation for {request.path}", 404) from None
    parsed = PROTOCOL_PARSERS[protocol](operation).parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.get_data(),
            "url_path": request.path,
            "url_params": uri_params,
        }
    )
    return Call(service, operation, protocol, region, access_key, parsed or {})


def check_request(call: Call, body: bytes) -> None:
    """Refuse parameters that the service model does not have or allow. Raises Refusal."""
    problems: list[str] = []
    if call.operation.input_shape is not None:
        try:
            report = ParamValidator().validate(call.params, call.operation.input_shape)
            problems += [report.generate_report()] if report.has_errors() else []
        except ParamValidationError as error:
            problems.append(str(error))
        if call.protocol in ("json", "rest-json"):
            problems += shapes.unknown_in_json(call.operation.input_shape, body)
        problems += [
            problem
            for problem in shapes.wrong_enums(call.operation.input_shape, call.params)
            if not known_wish(call.service, problem)
        ]
    if problems:
        code = "InvalidParameterException" if call.service == "eks" else "ValidationException"
        raise Refusal(code, "; ".join(problems).replace("\n", " "))


def check_answer(call: Call, answer: Answer) -> list[str]:
    """Members of a successful answer that the service model does not have: empty when there are none."""
    shape = call.operation.output_shape
    if shape is None or not answer.ok:
        return []
    if call.protocol in ("json", "rest-json"):
        problems = shapes.unknown_in_json(shape, answer.body)
    else:
        problems = shapes.unknown_in_xml(call.protocol, shape, answer.body)
    parsed = call.parse(answer)
    return problems + shapes.missing(shape, parsed) + shapes.wrong_enums(shape, parsed)


def _answer(response: Any) -> Answer:
    body = response["body"]
    headers = {str(name): str(value) for name, value in response["headers"].items()}
    return Answer(response["status_code"], headers, body if isinstance(body, bytes) else str(body or "").encode())
