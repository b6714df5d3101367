# SPDX-License-Identifier: Apache-2.0
"""The connection to AWS of a run: clients, retries, identity, and a record of all calls.

Retries are those of amazon.aws (exponential, with jitter), with the throttling codes that its list lacks. A change that AWS
may have carried out already is not repeated: whoever asked for it has to look first.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import AwsError, NotFound, code_of, sentence
from .unknown import Unknown, is_unknown

# Error codes for throttling: the call was refused before it did anything.
THROTTLED = (
    *("Throttling", "ThrottlingException", "TooManyRequests", "TooManyRequestsException", "RequestLimitExceeded"),
    *("RequestThrottled", "RequestThrottledException", "SlowDown", "PriorRequestNotComplete"),
)
# Error codes for throttling and temporary faults; amazon.aws knows only some of them.
RETRIED = [
    *THROTTLED,
    "ServerException",
    "ServiceUnavailableException",
    "InternalServerError",
    "InternalServiceError",
    # The answer to a HEAD has no body, and so no error code but its status.
    "429",
    "503",
]
_TRIES = 9


@dataclass(frozen=True)
class Identity:
    """Who calls. `arn` is an IAM ARN; for an assumed role that of the session."""

    account: str
    arn: str

    @property
    def partition(self) -> str:
        """aws, aws-cn, aws-us-gov …"""
        return self.arn.split(":")[1]


class Connection:
    """One account and region. Safe to share between threads; a client of each service is made once."""

    def __init__(
        self,
        make_client: Callable[[str], Any],
        region: str,
        *,
        say: Callable[[str], None] = lambda text: None,
        stop: threading.Event | None = None,
        retry_delay_s: float = 0.5,
        profile: str = "",
    ) -> None:
        self.region, self.profile = region, profile
        self.say = say
        self.stop = stop or threading.Event()
        self.retry_delay_s = retry_delay_s
        self.calls: set[tuple[str, str]] = set()
        self._make_client = make_client
        self._clients: dict[str, Any] = {}
        self._identity: Identity | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        region: str,
        *,
        profile: str = "",
        credentials_file: str = "",
        endpoint_url: str = "",
        say: Callable[[str], None] = lambda text: None,
    ) -> Connection:
        """From botocore's usual credential chain; a profile that is named goes before the environment's keys.

        `credentials_file`: the only place where credentials are taken from, `profile` (or `default`) in it. Raises AwsError.
        """
        if credentials_file and not Path(credentials_file).exists():
            raise AwsError(
                f"the credentials file {credentials_file} does not exist (platform_aws_credentials_file); "
                "an emulated account writes it when it starts: make up"
            )
        import boto3
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        # botocore would repeat a change whose answer was lost: `retrying` does it in its place.
        config = Config(retries={"mode": "standard", "total_max_attempts": 1}, user_agent_extra="llm.on_eks")
        if urlsplit(endpoint_url).hostname in ("127.0.0.1", "localhost", "::1"):
            # An emulator on this machine has no proxy and no FIPS or dual-stack endpoints.
            config = config.merge(Config(proxies={}, use_fips_endpoint=False, use_dualstack_endpoint=False))
        try:
            core = botocore.session.Session(profile=profile or ("default" if credentials_file else None))
            if credentials_file:
                for variable in ("credentials_file", "config_file"):
                    core.set_config_variable(variable, credentials_file)
            session = boto3.session.Session(region_name=region or None, botocore_session=core)
        except BotoCoreError as error:
            raise AwsError(sentence("AWS", "sign in", error, profile=profile)) from error
        return cls(
            lambda service: session.client(
                service, _home(service, region), endpoint_url=endpoint_url or None, config=config
            ),
            region,
            say=say,
            profile=core.profile or "",
        )

    def client(self, service: str) -> Any:
        """The boto3 client. Raises AwsError."""
        from botocore.exceptions import BotoCoreError

        with self._lock:
            if service not in self._clients:
                try:
                    made = self._make_client(service)
                except (BotoCoreError, EOFError) as error:
                    raise self._refused(error) from error
                made.meta.events.register("before-call", self._record)
                self._clients[service] = made
            return self._clients[service]

    def _refused(self, error: Exception) -> AwsError:
        return AwsError(sentence("AWS", "sign in", error, profile=self.profile), code_of(error))

    def _record(self, model: Any, **__: Any) -> None:
        self.calls.add((str(model.service_model.service_name), str(model.name)))

    def retrying(self, call: Callable[[], Any], *, repeatable: bool = True) -> Any:
        """The call's result, retried while the service throttles or fails temporarily. Raises botocore's exceptions.

        `repeatable`: whether the call may be carried out twice; if not, one whose outcome is not known is not repeated.
        """
        from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry

        class Refused(AWSRetry):  # type: ignore[misc]
            """Retries only what was surely not carried out."""

            @staticmethod
            def found(response_code: str, catch_extra_error_codes: Any = None) -> bool:
                return response_code in THROTTLED

        retry = (AWSRetry if repeatable else Refused).jittered_backoff(
            retries=_TRIES, delay=self.retry_delay_s, max_delay=20, catch_extra_error_codes=RETRIED
        )
        return retry(functools.partial(_connected, call, repeatable))()

    def pages(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """A listing with all its pages; an operation without pages is called once."""
        client = self.client(service)
        if not client.can_paginate(operation):
            return dict(self.retrying(functools.partial(getattr(client, operation), **parameters)))
        paginator = client.get_paginator(operation)
        return dict(self.retrying(lambda: paginator.paginate(**parameters).build_full_result()))

    @property
    def identity(self) -> Identity:
        """The caller, asked for once. Raises AwsError."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self._lock:
            if self._identity is None:
                try:
                    found = self.retrying(self.client("sts").get_caller_identity)
                except (BotoCoreError, ClientError, EOFError) as error:
                    raise self._refused(error) from error
                self._identity = Identity(found["Account"], found["Arn"])
            return self._identity

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """An ARN of this account, in the right partition."""
        me = self.identity
        return f"arn:{me.partition}:{service}:{self.region if regional else ''}:{me.account}:{resource}"

    def aws_policy(self, name: str) -> str:
        """The ARN of an AWS-managed policy. An ARN, known yet or not, is returned as it is, in the right partition."""
        if is_unknown(name):
            return name
        if name.startswith("arn:"):
            return name.replace("arn:aws:", f"arn:{self.identity.partition}:", 1)
        return f"arn:{self.identity.partition}:iam::aws:policy/{name}"

    def now(self) -> float:
        """Seconds of the clock by which waits are measured."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run is being ended. Raises AwsError then."""
        if self.stop.wait(seconds):
            raise AwsError("AWS: the run was interrupted; run it again to go on from here")


def _connected(call: Callable[[], Any], repeatable: bool) -> Any:
    """The call's result; asked once more where the connection failed before it was sent, or where it may be repeated."""
    from botocore.exceptions import ConnectionError as NotSent
    from botocore.exceptions import HTTPClientError

    try:
        return call()
    except (NotSent, HTTPClientError) as error:
        if not repeatable and is_unclear(error):
            raise
        return call()


def is_unclear(error: Exception) -> bool:
    """Whether AWS may have carried out the call that failed so: its answer was lost, or it failed on AWS's side.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    from botocore.exceptions import HTTPClientError

    if isinstance(error, HTTPClientError):
        return True
    response: dict[str, Any] = getattr(error, "response", None) or {}
    status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode", 0)
    return bool(status >= 500) and code_of(error) not in THROTTLED


def _home(service: str, region: str) -> str | None:
    """The region whose endpoint answers for a service; prices of all regions are told in one.

    https://docs.aws.amazon.com/general/latest/gr/billing.html
    """
    if service == "pricing":
        return "cn-northwest-1" if region.startswith("cn-") else "us-east-1"
    return None


class EmptyAccount(Connection):
    """An account that cannot be asked yet and counts as empty: for plans only. The caller is not known either."""

    def __init__(self, region: str) -> None:
        super().__init__(self._refuse, region)

    def _refuse(self, service: str) -> Any:
        raise NotFound(f"AWS {service}: the account counts as empty, so no call is made")

    @property
    def identity(self) -> Identity:
        unknown = Unknown("caller")
        return Identity(unknown, f"arn:aws:iam::{unknown}:{unknown}")


def patience(elapsed_s: float) -> float:
    """Seconds until the next look: short at first, so that quick changes are seen soon; longer later, to save calls."""
    return min(15.0, max(0.25, elapsed_s * 0.05))
