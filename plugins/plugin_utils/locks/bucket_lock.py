# SPDX-License-Identifier: Apache-2.0
"""Allows one run per cluster at a time while there is no cluster to hold a Lease: an object in a bucket, by conditional writes.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import datetime
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...module_utils.aws.base.connection import Connection
from ...module_utils.aws.base.errors import AwsError, code_of, sentence
from ..objects.record import who
from .holder import is_dead, this_process
from .lease import LockError

DURATION_S = 60
# Another run was faster: read again who holds the lock.
_CROSSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_ABSENT = ("NoSuchKey", "404")


@contextmanager
def held(
    connection: Connection,
    bucket: str,
    cluster: str,
    *,
    wait_s: float,
    stop: threading.Event,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[None]:
    """Hold the cluster's lock for the block. `stop` is set if the lock is lost meanwhile. Raises LockError, AwsError."""
    lock = _Lock(connection, bucket, f"locks/{cluster}.json", str(uuid.uuid4()))
    _take(lock, cluster, wait_s, say)
    ended = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lock, ended, stop), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        ended.set()
        renewer.join()
        lock.drop()


@dataclass
class _Lock:
    """The lock object. `tag`: ETag of our own last write."""

    connection: Connection
    bucket: str
    key: str
    run: str
    tag: str = ""

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def write(self, **condition: str) -> bool:
        """Write our name under a condition; False when it does not hold."""
        text = json.dumps({"holder": who(), "process": this_process(), "run": self.run, "since": _now()})
        try:
            answer = self._call("put_object", Body=text.encode(), ContentType="application/json", **condition)
        except _CrossedError:
            return False
        self.tag = answer["ETag"]
        return True

    def read(self) -> tuple[dict[str, str], str, float] | None:
        """(content, ETag, age in seconds by S3's own clock); None when nobody holds it."""
        answer = self._call("get_object")
        if not answer:
            return None
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = _http_date(date) if date else datetime.datetime.now(datetime.UTC)
        try:
            content = json.loads(answer["Body"].read())
        except ValueError:
            content = {}
        return content, answer["ETag"], (now - answer["LastModified"]).total_seconds()

    def drop(self) -> None:
        """Release the lock, best effort: if that fails, the lock expires."""
        try:
            self._call("delete_object", IfMatch=self.tag)
        except (_CrossedError, AwsError):
            return

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        method = getattr(self.connection.client("s3"), operation)
        try:
            return dict(self.connection.retrying(lambda: method(Bucket=self.bucket, Key=self.key, **parameters)) or {})
        except (BotoCoreError, ClientError) as error:
            code = code_of(error)
            if code in _CROSSED:
                raise _CrossedError from error
            if code in _ABSENT:
                return {}
            raise AwsError(sentence(f"lock {self.where}", operation, error), code) from error


class _CrossedError(Exception):
    """The condition of a write was not met."""


def _take(lock: _Lock, cluster: str, wait_s: float, say: Callable[[str], None]) -> None:
    end = time.monotonic() + wait_s
    told = False
    while True:
        found = lock.read()
        if found is None:
            if lock.write(IfNoneMatch="*"):
                return
            continue
        content, tag, age = found
        if content.get("run") == lock.run:  # our own write, whose answer was lost
            lock.tag = tag
            return
        if age > DURATION_S or is_dead(content.get("process", "")):
            if lock.write(IfMatch=tag):
                return
            continue
        holder = f"{content.get('holder', 'somebody')} (since {content.get('since', '')[:19]} UTC)"
        if time.monotonic() > end:
            raise LockError(
                f"{holder} is running on cluster {cluster}; wait for it, or, if it certainly died, delete {lock.where}"
            )
        if not told:
            say(f"waiting for {holder}, which is running on cluster {cluster}")
            told = True
        time.sleep(1)


def _renew(lock: _Lock, ended: threading.Event, stop: threading.Event) -> None:
    while not ended.wait(DURATION_S / 4):
        try:
            if not lock.write(IfMatch=lock.tag):
                found = lock.read()
                if found is None or found[0].get("run") != lock.run:
                    stop.set()  # another run took it: our next writes could conflict with its own
                    return
                lock.tag = found[1]
        except AwsError:
            continue  # S3 does not answer; the next renewal tells whether the lock was lost


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _http_date(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=datetime.UTC)
