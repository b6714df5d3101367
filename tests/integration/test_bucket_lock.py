# SPDX-License-Identifier: Apache-2.0
"""One run a cluster at a time while there is no cluster yet: an object in a bucket, by conditional writes."""

from __future__ import annotations

import json
import threading

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks import bucket_lock
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks.holder import this_process
from ansible_collections.llm.on_eks.plugins.plugin_utils.locks.lease import LockError
from tests.support.emulated_aws import REGION, EmulatedAws
from tests.support.emulated_cluster import access

KEY = "locks/demo.json"


@pytest.fixture(scope="module")
def account():
    with EmulatedAws() as aws:
        yield aws


@pytest.fixture
def bucket(account, request):
    name = f"locks-{abs(hash(request.node.name)) % 10**8}"
    account.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield name
    account.reset()


def held(account, bucket, **options):
    connection = access(account, "demo").connection
    options = {"wait_s": 0, "stop": threading.Event(), **options}
    return bucket_lock.held(connection, bucket, "demo", **options)


def somebody(account, bucket, process="elsewhere/boot/1:1"):
    content = {"holder": "anna@elsewhere", "process": process, "run": "theirs", "since": "2026-11-25T00:00:00+00:00"}
    account.client("s3").put_object(Bucket=bucket, Key=KEY, Body=json.dumps(content).encode())


def keys(account, bucket):
    return [row["Key"] for row in account.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_it_is_held_and_let_go(account, bucket):
    with held(account, bucket):
        assert keys(account, bucket) == [KEY]
    assert keys(account, bucket) == []


def test_a_second_run_is_refused_and_told_who_holds_it(account, bucket):
    somebody(account, bucket)
    with pytest.raises(LockError, match=f"anna@elsewhere.*delete s3://{bucket}/{KEY}"), held(account, bucket):
        pass
    assert keys(account, bucket) == [KEY], "it is still theirs"


def test_a_second_run_waits_until_the_first_lets_go(account, bucket):
    said = threading.Event()
    done = threading.Event()

    def second():
        with held(account, bucket, wait_s=30, say=lambda text: said.set()):
            done.set()

    with held(account, bucket):
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(20) and not done.is_set()
    thread.join(20)
    assert done.is_set()


def test_what_a_dead_process_of_this_machine_held_is_taken_over(account, bucket):
    head, __, __ = this_process().rpartition("/")
    somebody(account, bucket, process=f"{head}/4194304:1")
    with held(account, bucket):
        pass
    assert keys(account, bucket) == []


def test_what_nobody_renewed_is_taken_over(account, bucket, monkeypatch):
    somebody(account, bucket)
    monkeypatch.setattr(bucket_lock, "DURATION_S", -1)
    with held(account, bucket):
        pass


def test_one_of_many_gets_it(account, bucket):
    inside, most = [], []
    guard = threading.Lock()

    def run():
        with held(account, bucket, wait_s=60):
            with guard:
                inside.append(1)
                most.append(len(inside))
            with guard:
                inside.pop()

    threads = [threading.Thread(target=run) for __ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(most) == 4 and max(most) == 1


def test_a_lock_that_was_taken_away_stops_the_run(account, bucket, monkeypatch):
    monkeypatch.setattr(bucket_lock, "DURATION_S", 0.4)
    stop = threading.Event()
    with held(account, bucket, stop=stop):
        somebody(account, bucket)
        assert stop.wait(20)
    assert keys(account, bucket) == [KEY], "what another run holds now is left alone"


def test_a_write_whose_answer_was_lost_is_our_own(account, bucket):
    account.admin("POST", "faults", {"service": "s3", "operation": "PutObject", "kind": "transient", "count": 1})
    with held(account, bucket):
        assert keys(account, bucket) == [KEY]


def test_a_bucket_that_is_not_there_is_said(account):
    with pytest.raises(AwsError, match="no-such-bucket"), held(account, "no-such-bucket"):
        pass
