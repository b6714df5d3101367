# SPDX-License-Identifier: Apache-2.0
"""Handles one request after the other: identify, refuse, journal, carry out (ourselves or by moto), check, page, answer."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from moto.core.request import Request
from moto.moto_api._internal import mock_random
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.utilities.utils import get_partition
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request as PlainRequest

from . import (  # noqa: F401 - their operations register themselves  # pylint: disable=unused-import
    admin,
    ec2,
    ecr,
    efs,
    elb,
    iam,
    images,
    kms,
    launch_templates,
    logs,
    placement,
    prices,
    queues,
    quotas,
    s3,
    simulation,
    young,
)
from .callers import caller_of
from .clock import Clock, rule_moto
from .compaction import compacted
from .config import EmulatorConfig
from .denials import refuse_denied
from .eks import (  # noqa: F401  # pylint: disable=unused-import
    access,
    addons,
    clusters,
    identity,
    nodegroups,
    pod_identity,
    versions,
)
from .errors import Refusal
from .faults import Faults
from .guarded import refuse_stranger, refuse_unsigned
from .journal import Entry, Journal, new_seed
from .listening import Address
from .moto_cached import remember
from .paging import Pages, paginator
from .protocol import Answer, Call, check_answer, check_request, identify
from .shapes_known import known_deviations
from .world import GUARDS, OPERATIONS, OVERLAYS, Session, World

log = logging.getLogger("aws-emulator")
# Writes and deletions of S3 objects, after which the journal is compacted if possible.
_COMPACTED_AFTER = 200
# Headers of a connection, not of a request.
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Emulator:
    """One emulated account as a WSGI application."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.config = config
        self.clock = Clock()
        rule_moto(self.clock)
        remember()
        self.world = World(config, self.clock, allowed=config.permissions())
        self.faults, self.pages, self.journal = Faults(), Pages(), Journal(config.state)
        self.calls: collections.Counter[str] = collections.Counter()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._seen: set[tuple[str, str]] = set()
        self._refused = False
        self._object_writes = 0
        # Seconds by which the account's clock is ahead of the machine's: tests let time pass at once.
        self.ahead = 0.0
        # Answers to calls with a token that makes them idempotent: the same call again does nothing more.
        self._answers: dict[tuple[str, ...], Answer] = {}

    def replay(self) -> int:
        """Restore the state from the journal; the number of requests."""
        started, count = time.monotonic(), 0
        for entry in self.journal.entries():
            self._carry_out(entry, self._call(entry))
            self.ahead = max(0.0, entry.at - time.time())
            count += 1
        self.clock.set(self.now())
        if count:
            log.info("%d requests replayed in %.1f s", count, time.monotonic() - started)
        return count

    def now(self) -> float:
        """Seconds since the epoch, by the account's clock."""
        return time.time() + self.ahead

    def session(self, region: str, access_key: str) -> Session:
        arn = caller_of(self.config, access_key).arn
        return Session(
            self.world, self.config.account, region, arn.replace("arn:aws:", f"arn:{get_partition(region)}:", 1)
        )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = PlainRequest(environ)
        body = request.get_data()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        url = environ.get("RAW_URI") or environ.get("REQUEST_URI") or request.full_path
        entry = Entry(self.now(), new_seed(), request.method, url, headers, body)
        answer = self.answer(entry)
        lines = {name: value for name, value in answer.headers.items() if name.lower() not in (*_HOP, "date")}
        lines["Date"] = formatdate(entry.at, usegmt=True)
        length = answer.headers.get("Content-Length") if request.method == "HEAD" else None
        lines["Content-Length"] = length or str(len(answer.body))
        start_response(f"{answer.status} {_reason(answer.status)}", list(lines.items()))
        return [] if request.method == "HEAD" else [answer.body]

    def answer(self, entry: Entry) -> Answer:
        """Answer one live request. A long poll of a queue is asked again and again meanwhile, so that others are answered."""
        until = entry.at + queues.wait_s(entry)
        while True:
            answer = self._answer(entry)
            if self.now() >= until or not answer.ok or not queues.is_empty(answer.body):
                return answer
            time.sleep(queues.LOOK_AGAIN_S)
            entry = replace(entry, at=self.now())

    def _answer(self, entry: Entry) -> Answer:
        """Requests are serialised: moto's state has no locks."""
        path = urlsplit(entry.url).path
        with self._lock:
            if path.startswith(admin.ROOT):
                if admin.gives_rights(entry.method, path):
                    try:
                        refuse_stranger(self.config, entry)
                    except Refusal as refusal:
                        return Answer(refusal.status, {"Content-Type": "text/plain"}, refusal.message.encode())
                if admin.changes_state(entry.method, path, entry.body):
                    self.journal.append(entry)
                self.clock.set(entry.at)
                self.world.settle()
                return admin.answer(self, entry.method, path, entry.body)
            try:
                call = identify(_request(entry))
            except Refusal as refusal:
                return Answer(refusal.status, {"x-amzn-errortype": refusal.code}, refusal.message.encode())
            if call is not None:
                self.calls[f"{call.service}:{call.name}"] += 1
                fault = self.faults.strike(call.service, call.name)
                if fault is not None:
                    return call.serialize_error(fault)
                try:
                    refuse_unsigned(self.config, call, entry)
                    session = self.session(call.region, call.access_key)
                    refuse_denied(session, call, caller_of(self.config, call.access_key), entry)
                    check_request(call, entry.body)
                    if call.service == "ec2":
                        # A call that is refused moves the clock, too: else the same call would be refused for ever.
                        self.clock.set(entry.at)
                        young.refuse_unseen(self.world, call.params)
                except Refusal as refusal:
                    return call.serialize_error(refusal)
            # moto creates a region's default network at the first read: so that read belongs in the journal, too.
            first = call is not None and (call.service, call.region) not in self._seen
            reads = call.reads if call else entry.method in ("GET", "HEAD")
            answer = self._carry_out(entry, call)
            # A poll that found nothing changed nothing.
            reads = reads or ((call is not None and call.name == "ReceiveMessage") and queues.is_empty(answer.body))
            if first or not (reads or self._refused):
                self._keep(entry, call)
            lost = self.faults.lose(call.service, call.name) if call is not None and answer.ok else None
            return call.serialize_error(lost) if call is not None and lost else answer

    def _call(self, entry: Entry) -> Call | None:
        if urlsplit(entry.url).path.startswith(admin.ROOT):
            return None
        return identify(_request(entry))

    def _keep(self, entry: Entry, call: Call | None) -> None:
        self.journal.append(entry)
        if call is not None and (call.service, call.name) in s3.CONDITIONAL:
            self._object_writes += 1
            if self._object_writes >= _COMPACTED_AFTER:
                self._object_writes = 0
                self.journal.rewrite(lambda entries: compacted(entries, self._call))

    def _carry_out(self, entry: Entry, call: Call | None) -> Answer:
        mock_random.seed(entry.seed)
        self.clock.set(entry.at)
        self.world.settle()
        self._refused = False
        path = urlsplit(entry.url).path
        if path.startswith(admin.ROOT):
            return admin.answer(self, entry.method, path, entry.body)
        if call is None:
            return self._ask_moto(entry)
        self._seen.add((call.service, call.region))
        token = _token(call)
        if token in self._answers:
            return self._answers[token]
        try:
            answer = self._result(call, entry)
            self._refused = not answer.ok
        except Refusal as refusal:
            self._refused = True
            return call.serialize_error(refusal)
        except Exception:  # the outermost handler: a defect of ours must not look like a broken connection
            log.exception("%s %s", call.service, call.name)
            return call.serialize_error(Refusal("NotImplemented", "the emulator failed; its log says why", 501))
        problems = [problem for problem in check_answer(call, answer) if not known_deviations(call.service, problem)]
        if problems:
            log.error("%s %s: %s", call.service, call.name, "; ".join(problems))
            return call.serialize_error(Refusal("EmulatorContract", "; ".join(problems)[:800], 400))
        if answer.ok and token:
            self._answers[token] = answer
        return answer

    def _result(self, call: Call, entry: Entry) -> Answer:
        key = (call.service, call.name)
        session = self.session(call.region, call.access_key)
        token = self.pages.token(*key, call.params)
        if token and (key in OPERATIONS or self.pages.knows(token)):
            return call.serialize(self.pages.cut(*key, call.params, self.pages.rest(call.name, token)))
        if key in OPERATIONS:
            return call.serialize(self.pages.cut(*key, call.params, OPERATIONS[key](session, call.params)))
        for refuse in GUARDS.get(key, ()):
            refuse(session, call.params)
        if key == ("sqs", "ReceiveMessage"):
            entry = queues.at_once(entry)
        if key in s3.CONDITIONAL:
            entry = replace(entry, headers=s3.without_conditions(entry.headers))
        answer = self._ask_moto(entry)
        if not answer.ok:
            return answer
        if key in OVERLAYS:
            answer = call.serialize(OVERLAYS[key](session, call.params, call.parse(answer)))
        if call.service == "ec2":
            answer = self._as_ec2_sees_it(session, call, answer)
        if self.pages.cap and paginator(*key):
            answer = call.serialize(self.pages.cut(*key, call.params, call.parse(answer)))
        return answer

    def _as_ec2_sees_it(self, session: Session, call: Call, answer: Answer) -> Answer:
        """EC2 does not find everywhere what it has just made."""
        if call.reads and self.world.young:
            return call.serialize(young.without_unseen(self.world, call.parse(answer)))
        if young.knows(session, call.name):
            young.note(session, call.name, call.parse(answer))
        return answer

    def _ask_moto(self, entry: Entry) -> Answer:
        environ = _environ(entry)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self.config.account
        body, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        answer = Answer(int(status.split()[0]), dict(headers.items()), b"".join(body))
        if answer.status == 500 and answer.body.lstrip().lower().startswith(b"<!doctype"):
            raise Refusal("NotImplemented", "the emulator cannot do this; its log says why", 501)
        return answer


def _token(call: Call) -> tuple[str, ...]:
    """Identifies a call that may be repeated without effect; empty for a call that names no token.

    EFS answers otherwise: it refuses a token while what was made with it is there, and takes it again afterwards.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html
    https://docs.aws.amazon.com/efs/latest/ug/API_CreateFileSystem.html
    """
    if call.service == "efs":
        return ()
    given = [str(call.params[member]) for member in call.operation.idempotent_members if call.params.get(member)]
    return (call.service, call.name, call.region, *given) if given else ()


def _environ(entry: Entry) -> dict[str, Any]:
    path, __, query = entry.url.partition("?")
    builder = EnvironBuilder(method=entry.method, path="/", headers=entry.headers, data=entry.body)
    environ: dict[str, Any] = builder.get_environ()
    host = next((value for name, value in entry.headers if name.lower() == "host"), "localhost")
    environ.update(
        PATH_INFO=unquote(path, "latin-1"), QUERY_STRING=query, RAW_URI=entry.url, REQUEST_URI=entry.url, HTTP_HOST=host
    )
    return environ


def _request(entry: Entry) -> Request:
    return Request(_environ(entry))


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class _Handler(MotoRequestHandler):  # type: ignore[misc]
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: one line per request would be noise, and failures are logged where they happen."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """The line alone: the answer has its date already, by the account's clock."""
        self.send_response_only(code, message)


def listen(emulator: Emulator) -> list[BaseWSGIServer]:
    """A server for each address, not serving yet."""
    return [_server(emulator, address) for address in emulator.config.listen]


def _server(emulator: Emulator, address: Address) -> BaseWSGIServer:
    with address.open() as made:  # werkzeug has a copy of its own
        port = made.getsockname()[1]
        return make_server(address.host, port, emulator, threaded=True, request_handler=_Handler, fd=made.fileno())
