# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.models import job as model_store_job
from ansible_collections.llm.on_eks.plugins.module_utils.models import store as model_store
from ansible_collections.llm.on_eks.plugins.module_utils.models.store import (
    BusyError,
    FileEntry,
    Manifest,
    ModelStore,
    ModelStoreError,
    WrongContentError,
    manifest_of,
)

DATA = os.urandom(3 * model_store.CHUNK_BYTES + 17)
SHA256 = hashlib.sha256(DATA).hexdigest()


def manifest(name="tiny", data=DATA, sha256=None):
    return manifest_of(name, "file:///tiny.gguf", sha256 or hashlib.sha256(data).hexdigest(), len(data))


def publish(store, one=None, data=DATA, **options):
    return store.publish(one or manifest(), lambda _file: io.BytesIO(data), **options)


def visible(root):
    """Everything that an engine could see: all but the store's own folders."""
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path)


def test_a_published_model_has_its_bytes_and_a_manifest(store):
    assert publish(store) is True
    folder = store.root / "tiny" / SHA256[:12]
    assert (folder / "model.gguf").read_bytes() == DATA
    written = json.loads((folder / "manifest.json").read_text())
    assert written["files"] == [{"path": "model.gguf", "size_bytes": len(DATA), "sha256": SHA256}]
    assert written["digest"] == manifest().digest


def test_other_users_can_read_it_whatever_the_umask(store):
    before = os.umask(0o077)
    try:
        publish(store)
    finally:
        os.umask(before)
    folder = store.root / "tiny" / SHA256[:12]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


def test_publishing_again_reads_nothing(store):
    publish(store)

    def refuse(_file):
        raise AssertionError("the stream was opened")

    assert store.publish(manifest(), refuse) is False


def test_progress_ends_with_all_bytes(store):
    seen = []
    publish(store, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)


@pytest.mark.parametrize("data", [DATA[:-1], b"", DATA[:-1] + b"x"], ids=["short", "empty", "other"])
def test_a_short_or_wrong_stream_publishes_nothing(store, data):
    with pytest.raises(WrongContentError, match="nothing was published"):
        publish(store, manifest(), data)
    assert visible(store.root) == []
    assert list((store.root / ".staging").iterdir()) == []
    assert publish(store) is True  # and the way is free


def test_no_byte_more_than_announced_is_read(store):
    stream = io.BytesIO(DATA + b"more")
    stream.close = lambda: None
    store.publish(manifest(), lambda _file: stream)
    assert stream.read() == b"more"


def test_a_damaged_folder_is_published_anew(store):
    publish(store)
    file = store.root / "tiny" / SHA256[:12] / "model.gguf"
    file.write_bytes(b"cut")
    assert store.published("tiny", SHA256[:12]) is None
    assert publish(store) is True
    assert file.read_bytes() == DATA


def test_verify_reads_every_byte(store):
    publish(store)
    file = store.root / "tiny" / SHA256[:12] / "model.gguf"
    file.write_bytes(b"x" + DATA[1:])
    with pytest.raises(WrongContentError, match=r"model\.gguf"):
        store.verify("tiny", SHA256[:12])


def test_list_and_remove_know_only_what_is_published(store):
    publish(store)
    publish(store, manifest("other"))
    assert [one.name for one in store.list()] == ["other", "tiny"]
    assert store.remove("tiny", SHA256[:12]) is True
    assert store.remove("tiny", SHA256[:12]) is False
    assert visible(store.root) == ["other"]


def test_a_second_writer_waits_and_finds_the_work_done(store):
    opened, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read1(self, size=-1):
            opened.set()
            go_on.wait(30)
            return super().read1(size)

    results = {}
    first = threading.Thread(target=lambda: results.update(a=store.publish(manifest(), lambda _f: Slow(DATA))))
    first.start()
    opened.wait(30)
    second = threading.Thread(target=lambda: results.update(b=publish(store)))
    second.start()
    go_on.set()
    first.join(30)
    second.join(30)
    assert results == {"a": True, "b": False}


def test_a_writer_that_cannot_wait_says_who_is_in_the_way(store):
    lock = store.root / ".locks" / f"tiny@{SHA256[:12]}"
    lock.mkdir(parents=True)
    with pytest.raises(BusyError, match="another writer"):
        publish(store, wait_s=0)


def test_the_lock_of_a_dead_writer_is_taken_over(store):
    lock = store.root / ".locks" / f"tiny@{SHA256[:12]}"
    lock.mkdir(parents=True)
    long_ago = time.time() - model_store.LOCK_STALE_S - 60
    os.utime(lock, (long_ago, long_ago))
    left = store.root / ".staging" / f"tiny@{SHA256[:12]}.dead"
    left.mkdir(parents=True)
    assert publish(store, wait_s=5) is True
    assert list(lock.parent.iterdir()) == []
    assert not left.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".staging"])
def test_a_name_that_leaves_the_volume_is_refused(store, name):
    with pytest.raises(ModelStoreError, match="cannot be a folder"):
        publish(store, manifest(name))


@pytest.mark.parametrize("path", ["../model.gguf", "/etc/passwd", "manifest.json"])
def test_a_file_that_leaves_the_model_is_refused(store, path):
    one = Manifest("tiny", "r1", "s", (FileEntry(path, len(DATA), SHA256),))
    with pytest.raises(ModelStoreError, match="relative path"):
        publish(store, one)
    assert visible(store.root) == []


def test_a_volume_without_space_is_refused_before_anything_is_read(store):
    one = Manifest("tiny", "r1", "s", (FileEntry("model.gguf", 1 << 60, SHA256),))
    with pytest.raises(ModelStoreError, match="enlarge the volume"):
        publish(store, one)


def test_a_manifest_changed_by_hand_is_refused():
    text = manifest().to_json().replace(SHA256, "0" * 64)
    with pytest.raises(ModelStoreError, match="changed by hand"):
        Manifest.from_json(text)


def job(root, *arguments, stdin=b""):
    return subprocess.run(
        [sys.executable, "-m", model_store_job.__name__, "--root", str(root), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def publish_arguments(data=DATA):
    return ["publish", "--name=tiny", f"--size={len(data)}", f"--sha256={SHA256}", "--source=file:///tiny.gguf"]


@pytest.mark.programs
def test_the_job_publishes_what_comes_on_stdin_and_says_how_far_it_is(tmp_path):
    done = job(tmp_path, *publish_arguments(), stdin=DATA)
    assert done.returncode == 0, done.stderr
    assert b"100 %" in done.stdout
    assert ModelStore(tmp_path).verify("tiny", SHA256[:12]).name == "tiny"
    again = job(tmp_path, *publish_arguments())
    assert (again.returncode, again.stdout) == (0, f"tiny/{SHA256[:12]} is already published\n".encode())


@pytest.mark.programs
def test_the_job_refuses_a_short_stream_with_its_own_exit_code(tmp_path):
    done = job(tmp_path, *publish_arguments(), stdin=DATA[:1000])
    assert done.returncode == 3
    assert b"ended after 1000 of" in done.stderr
    assert visible(tmp_path) == []
