# SPDX-License-Identifier: Apache-2.0
"""Whole repositories onto a volume, from servers that cut, corrupt, throttle, lie about lengths and redirect."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.models import collect, transfer
from ansible_collections.llm.on_eks.plugins.module_utils.models import store as stores
from ansible_collections.llm.on_eks.plugins.module_utils.models import sync as syncs
from ansible_collections.llm.on_eks.plugins.module_utils.models.errors import (
    AccessError,
    ContentError,
    MissingError,
    ServerError,
    SpaceError,
    SyncError,
    UnknownSourceError,
)
from ansible_collections.llm.on_eks.plugins.module_utils.models.folder import publish_folder
from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client, Patience, shown
from ansible_collections.llm.on_eks.plugins.module_utils.models.hub import Hub
from ansible_collections.llm.on_eks.plugins.module_utils.models.job import main
from ansible_collections.llm.on_eks.plugins.module_utils.models.listing import RemoteFile
from ansible_collections.llm.on_eks.plugins.module_utils.models.progress import reporter
from ansible_collections.llm.on_eks.plugins.module_utils.models.select import Wanted, choose
from ansible_collections.llm.on_eks.plugins.module_utils.models.source import check_pin, folder_of, parse
from ansible_collections.llm.on_eks.plugins.module_utils.models.store import ModelStore, ModelStoreError
from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Access, Request, plan, sync
from ansible_collections.llm.on_eks.plugins.module_utils.models.transfer import Bounds
from tests.support.model_server import COMMIT, TOKEN, Fault, ModelServer

PART = 64 << 10
BOUNDS = Bounds(connections=4, part_bytes=PART, chunk_bytes=16 << 10)
QUICK = Patience(tries=4, first_wait_s=0.01, wait_max_s=5, timeout_s=5)
FOLDER = COMMIT[:12]


def safetensors(size, seed=0):
    """A file of about `size` bytes with one tensor."""
    data = random.Random(seed).randbytes(size)
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


def repository():
    return {
        ".gitattributes": b"*.safetensors filter=lfs",
        "README.md": b"# A model\n",
        "config.json": b'{"model_type": "llama"}',
        "model-00001-of-00002.safetensors": safetensors(5 * PART + 17, 1),
        "model-00002-of-00002.safetensors": safetensors(3 * PART, 2),
        "pytorch_model.bin": b"\x80\x02" * 700,
        "onnx/model.onnx": b"x" * 2000,
        "sub/tokenizer.json": b"{}" * 600,
    }


@pytest.fixture
def server():
    with ModelServer(repository()) as made:
        yield made


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "models").mkdir()


def client(**more):
    return Client(Patience(**{**vars(QUICK), **more}))


def request(**wanted):
    return Request("tiny", "hf://ORG/NAME", COMMIT, Wanted(**wanted))


def run(store, server, one=None, who=None, **options):
    access = Access(hub_endpoint=server.url, hub_token=options.pop("token", ""))
    return sync(store, one or request(), who or client(), access, **{"bounds": BOUNDS, "wait_s": 5, **options})


def files_of(store, name="tiny", revision=FOLDER):
    folder = store.root / name / revision
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(server):
    return {name: data for name, data in server.files.items() if name.endswith((".safetensors", ".json", ".md"))}


# --- a repository


def test_a_repository_is_published_whole_with_only_what_an_engine_needs(store, server):
    outcome = run(store, server)
    there = files_of(store)
    manifest = json.loads(there.pop("manifest.json"))
    assert there == weights(server)
    assert manifest["pin"] == COMMIT
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in there.items()
    }
    assert (outcome.changed, outcome.moved_bytes) == (True, sum(map(len, there.values())))
    assert store.verify("tiny", FOLDER).digest == manifest["digest"]
    assert list((store.root / ".staging").iterdir()) == []


def test_what_is_there_is_not_asked_for_again(store, server):
    run(store, server)
    server.asked.clear()
    assert run(store, server).changed is False
    assert server.asked == []


def test_another_selection_of_the_same_revision_is_another_model(store, server):
    run(store, server, request(include=("config.json",)))
    assert set(files_of(store)) == {"config.json", "manifest.json"}
    assert run(store, server).changed is True
    assert len(files_of(store)) > 3


def test_a_listing_of_many_pages_is_read_to_its_end(store, server):
    server.page_size = 2
    run(store, server)
    assert set(weights(server)) < set(files_of(store))


def test_a_plan_says_what_would_be_moved_and_writes_nothing(store, server):
    found = plan(store, request(), client(), Access(hub_endpoint=server.url))
    assert (found.changed, found.moved_bytes) == (True, sum(map(len, weights(server).values())))
    assert list(store.root.iterdir()) == []
    assert server.sent_bytes <= 1, "one byte shows that the files may be read"


def test_a_branch_is_resolved_to_a_commit(server):
    assert Hub(client(), server.url).resolve("ORG/NAME", "main") == COMMIT
    with pytest.raises(MissingError, match="no such revision"):
        Hub(client(), server.url).resolve("ORG/NAME", "gone")


def test_the_hubs_own_client_accepts_what_the_double_answers(server, tmp_path):
    """Our doubles must not flatter us: huggingface_hub reads the same listing and the same bytes."""
    hub = pytest.importorskip("huggingface_hub")
    api = hub.HfApi(endpoint=server.url, token=False)
    entries = [one for one in api.list_repo_tree("ORG/NAME", revision=COMMIT, recursive=True) if hasattr(one, "size")]
    assert {one.path: one.size for one in entries} == {name: len(data) for name, data in server.files.items()}
    ours = {file.path: file.sha256 for file in Hub(client(), server.url).list("ORG/NAME", COMMIT).files}
    assert {one.path: one.lfs.sha256 if one.lfs else "" for one in entries} == ours
    assert api.model_info("ORG/NAME", revision="main").sha == COMMIT


# --- tokens, names, space


def test_a_gated_repository_wants_a_token(store, server):
    server.gated = True
    with pytest.raises(AccessError, match="gated or private: put a token into the Secret"):
        run(store, server)
    with pytest.raises(AccessError, match="accept its terms"):
        run(store, server, token="hf_wrong")
    assert run(store, server, token=TOKEN).changed


def test_a_token_goes_to_the_hub_alone(store, server):
    """Large files are redirected to another host; a signed address needs no token, and must not see one."""
    server.gated = True
    run(store, server, token=TOKEN)
    by_host = {(one.host.partition(":")[0], bool(one.authorization)) for one in server.asked}
    assert by_host == {("127.0.0.1", True), ("localhost", False)}


@pytest.mark.programs
@pytest.mark.parametrize("token", ["hf_canary_that_is_wrong", TOKEN])
def test_a_token_is_in_no_argument_no_word_and_no_file(tmp_path, server, token):
    """The whole program, at a hub that repeats the tokens that it refuses; slowly, so that it is seen while it runs."""
    server.gated, server.repeats_tokens, server.bytes_per_s = True, True, 1e6
    (tmp_path / "token").write_text(f"{token}\n")
    process = job(tmp_path / "models", server, {"HF_TOKEN_PATH": str(tmp_path / "token")}, subprocess.PIPE)
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    said = "".join(process.communicate(timeout=60))
    assert process.returncode == (0 if token == TOKEN else 7), said
    assert "published tiny" in said if token == TOKEN else "Authorization was Bearer ********" in said
    files = [path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert token not in said and not [one for one in (arguments, *files) if token.encode() in one]


@pytest.mark.parametrize(
    ("source", "revision", "sentence"),
    [
        ("hf://ORG/NAME", "main", "not a commit.*lock.yml"),
        ("hf://NAME", COMMIT, "write hf://ORGANISATION/NAME"),
        ("ftp://x/y", COMMIT, "no known scheme"),
        ("s3://B/x", "sha256:" + "0" * 64, "names no bucket"),
        ("https://h/f.gguf", "", "is not a digest"),
    ],
)
def test_a_source_or_a_revision_that_means_nothing_is_refused(source, revision, sentence):
    with pytest.raises(UnknownSourceError, match=sentence):
        check_pin(parse(source), revision)


def test_a_volume_without_room_is_found_before_anything_is_fetched(store, server, monkeypatch):
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda __: type("U", (), {"free": 1000})())
    with pytest.raises(ModelStoreError, match="enlarge the volume"):
        run(store, server)
    assert server.sent_bytes == 0


def test_a_volume_that_fills_up_is_said_in_a_sentence(store, server, monkeypatch):
    real = os.pwrite

    def full(file, data, at):
        if len(data) > 1000 and at > PART:
            raise OSError(28, "No space left on device")
        return real(file, data, at)

    monkeypatch.setattr(transfer.os, "pwrite", full)
    with pytest.raises(SpaceError, match="the volume is full"):
        run(store, server)
    assert not (store.root / "tiny").exists()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x"])
def test_a_listing_cannot_leave_the_folder(store, server, path):
    server.files[path + ".safetensors"] = safetensors(10)
    with pytest.raises(SyncError, match="would leave its folder"):
        run(store, server, request(include=("*.safetensors",)))


# --- which files


def remote(*names):
    return [RemoteFile(name, 1, lambda: ("", {})) for name in names]


def chosen(names, **wanted):
    return [file.path for file in choose(remote(*names), Wanted(**wanted), "hf://o/n")]


def test_safetensors_come_before_pickles_and_copies_for_other_libraries():
    names = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "original/x.pth",
    ]
    assert chosen(names) == ["config.json", "model.safetensors"]


def test_a_pickle_is_refused_unless_the_entry_allows_it():
    names = ["config.json", "pytorch_model.bin"]
    with pytest.raises(SyncError, match=r"can run code when loaded.*allow_pickle: true"):
        chosen(names)
    assert chosen(names, allow_pickle=True) == names
    with pytest.raises(SyncError, match="can run code"):
        chosen(["x.safetensors", "x.pkl"], include=("*",))


def test_one_quantisation_of_a_gguf_repository_is_fetched_with_all_its_parts():
    names = ["README.md", "m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf", "m-Q8_0.gguf"]
    assert chosen(names, quantization="q4_k_m") == names[:3]
    with pytest.raises(SyncError, match="2 GGUF models; set quantization to one of Q4_K_M, Q8_0"):
        chosen(names)
    with pytest.raises(SyncError, match="0 of its models are Q5_0"):
        chosen(names, quantization="Q5_0")


def test_patterns_of_an_entry_decide_alone():
    assert chosen(["a.safetensors", "b.txt", "b.png"], include=("b.*",), exclude=("*.txt",)) == ["b.png"]
    with pytest.raises(SyncError, match="none of its 1 files"):
        chosen(["a.safetensors"], include=("z*",))


# --- a server that misbehaves


def once(match, fault):
    """The fault for the first answer that fits."""
    left = [fault]
    return lambda asked: left.pop() if left and match(asked) else None


def of_weights(asked):
    return asked.path.startswith("/cdn/")


def test_after_a_cut_only_what_is_missing_is_asked_for(store, server):
    server.fault = once(of_weights, Fault(cut_at=40_000))
    run(store, server)
    expected = sum(len(data) for data in weights(server).values())
    # Of the chunk that was being filled nothing is lost either.
    assert server.sent_bytes == expected


def test_a_server_that_cuts_every_answer_is_given_the_time_it_needs(store, server):
    """Tries count from the last progress on, not from the beginning."""
    server.fault = lambda asked: Fault(cut_at=5000) if of_weights(asked) else None
    run(store, server, who=client(tries=2))
    assert set(weights(server)) < set(files_of(store))


def test_a_server_that_never_sends_is_given_up_with_a_sentence(store, server):
    server.fault = lambda asked: Fault(cut_at=0) if of_weights(asked) else None
    with pytest.raises(ServerError, match="given up after 4 tries"):
        run(store, server)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_patience_gets_it(store, server, status):
    server.fault = once(of_weights, Fault(status=status, retry_after="1"))
    began = time.monotonic()
    run(store, server)
    assert time.monotonic() - began >= 1


def test_what_the_hub_says_of_its_rate_limit_is_kept(store, server):
    """https://github.com/huggingface/huggingface_hub/issues/3312: it sends no Retry-After."""
    server.fault = once(of_weights, Fault(status=429, rate_limit='"resolvers";r=0;t=1'))
    began = time.monotonic()
    run(store, server)
    assert time.monotonic() - began >= 2


def test_a_download_that_stalls_goes_on_where_it_was(store, server):
    """https://github.com/kserve/kserve/issues/5611"""
    server.fault = once(of_weights, Fault(stall_at=1000))
    began = time.monotonic()
    run(store, server, who=client(timeout_s=0.5))
    assert time.monotonic() - began < 20


def test_a_mirror_that_compresses_is_named(store, server):
    """https://github.com/huggingface/huggingface_hub/issues/3307"""
    server.fault = lambda asked: Fault(encoding="gzip") if asked.path.endswith("/config.json") else None
    with pytest.raises(
        ContentError,
        match=r"config.json is \d+ bytes long on its server, and 23 were announced: it sends it compressed \(gzip\)",
    ):
        run(store, server)


def test_a_date_to_come_again_is_kept(store, server):
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    server.fault = once(of_weights, Fault(status=503, retry_after=when))
    began = time.monotonic()
    run(store, server)
    assert time.monotonic() - began > 0.9


def test_more_patience_than_anybody_has_is_an_error_at_once(store, server):
    server.fault = once(of_weights, Fault(status=429, retry_after="86400"))
    with pytest.raises(ServerError, match="asks for 86400 s of patience"):
        run(store, server)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(total=999), "is 999 bytes long on its server"),
        (Fault(wrong_range=True), "bytes from .* were asked for"),
        (Fault(ignore_range=True, length=10), "is 10 bytes long on its server"),
        (Fault(status=418), "answered 418"),
    ],
)
def test_an_answer_that_lies_is_refused(store, server, fault, sentence):
    server.fault = lambda asked: fault if of_weights(asked) else None
    with pytest.raises((ContentError, ServerError), match=sentence):
        run(store, server)
    assert not (store.root / "tiny").exists()


def test_a_server_without_ranges_is_read_to_the_part(store, server):
    server.fault = lambda asked: Fault(ignore_range=True) if of_weights(asked) else None
    run(store, server)
    assert set(weights(server)) < set(files_of(store))


def test_a_signed_address_that_has_run_out_is_asked_for_again(store, server):
    def expire(asked):
        if of_weights(asked):
            server.signatures -= {f"s{number}" for number in range(4)}
        return

    server.fault = expire
    run(store, server)
    assert set(weights(server)) < set(files_of(store))


def test_redirects_without_end_are_noticed(store, server):
    server.fault = lambda asked: Fault(location="/ORG/NAME/x") if asked.path.startswith("/ORG/") else None
    with pytest.raises(ServerError, match="redirects more than 10 times"):
        run(store, server)


def test_a_flipped_bit_that_stays_is_refused_and_named(store, server):
    name = "model-00002-of-00002.safetensors"
    server.fault = lambda asked: Fault(flip=8 * PART + 3) if asked.path.endswith(name) else None
    with pytest.raises(ContentError, match=rf"{name}: sha256 is .*, and its source says"):
        run(store, server)
    assert not (store.root / "tiny").exists()


def test_a_bit_that_an_earlier_run_has_left_is_mended(store, server):
    server.fault = lambda asked: Fault(status=418) if "00002-of" in asked.path else None
    with pytest.raises(ServerError):
        run(store, server, bounds=Bounds(connections=1, part_bytes=PART, chunk_bytes=PART))
    staged = next((store.root / ".staging").rglob("model-00001*"))
    data = bytearray(staged.read_bytes())
    data[100] ^= 1
    staged.write_bytes(data)
    server.fault = lambda asked: None
    run(store, server)
    assert weights(server).items() <= files_of(store).items()


def count(few, all_of_them):
    return pytest.mark.parametrize(
        "times",
        [pytest.param(few, id=str(few)), pytest.param(all_of_them, id=str(all_of_them), marks=pytest.mark.full)],
    )


@count(40, 1000)
@pytest.mark.slow
def test_every_flipped_bit_is_refused(tmp_path, times):
    """Small files by git's sha1, large ones by git-lfs's sha256."""
    for large in (False, True):
        with ModelServer({"config.json": b"{}", "w.safetensors": safetensors(5000 if large else 100)}) as server:
            size = len(server.files["w.safetensors"])
            for number in range(times // 2):
                bit = random.Random(number).randrange(8 * size)
                server.fault = lambda asked, bit=bit: Fault(flip=bit) if "w.safe" in asked.path else None
                store = ModelStore(tmp_path / f"{large}-{number}")
                store.root.mkdir()
                with pytest.raises(ContentError, match=r"w\.safetensors"):
                    run(store, server)
                assert not (store.root / "tiny").exists()


@count(4, 50)
@pytest.mark.programs
def test_a_kill_at_any_point_costs_at_most_one_part(tmp_path, times):
    """SIGKILL: nothing is tidied up. `sent` is what the server has sent in both runs."""
    size = 12 * (1 << 20)
    files = {"config.json": b"{}", "a.safetensors": safetensors(size, 1), "b.safetensors": safetensors(size // 3, 2)}
    with ModelServer(files, bytes_per_s=12e6) as server:
        total = sum(map(len, files.values()))
        for number in range(times):
            root = tmp_path / str(number)
            root.mkdir()
            server.asked.clear()
            kill_at = random.Random(number).randrange(total)
            first = job(root, server)
            while server.sent_bytes < kill_at and first.poll() is None:
                time.sleep(0.002)
            first.send_signal(signal.SIGKILL)
            first.wait()
            release(root)
            second = job(root, server)
            assert second.wait(60) == 0
            assert ModelStore(root).verify("tiny", FOLDER).files
            again = server.sent_bytes - total
            assert again <= transfer.PART_BYTES, f"killed at {kill_at}: {again} bytes again"


def job(root, server, variables=None, output=subprocess.DEVNULL):
    arguments = ["--root", str(root), "fetch", "--name=tiny", "--source=hf://ORG/NAME", f"--revision={COMMIT}"]
    module = "ansible_collections.llm.on_eks.plugins.module_utils.models.job"
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments, f"--hub-endpoint={server.url}", "--connections=4", "--wait=30"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(variables or {})},
        stdout=output,
        stderr=None if output == subprocess.DEVNULL else output,
        text=True,
    )


def release(root):
    """Two minutes pass: the lock of a writer that is dead is stale by then."""
    for lock in (root / ".locks").glob("*"):
        os.utime(lock, (0, 0))


def test_two_writers_share_one_fetch(store, server):
    server.bytes_per_s = 2e6
    found = []
    threads = [threading.Thread(target=lambda: found.append(run(store, server, wait_s=30).changed)) for __ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [False, True]
    assert server.sent_bytes == sum(map(len, weights(server).values()))


def test_a_cut_header_is_refused_although_its_digest_is_right(store, server):
    server.files["model-00002-of-00002.safetensors"] = safetensors(2000)[:-5]
    with pytest.raises(ContentError, match="the file is truncated"):
        run(store, server)


def test_memory_is_bounded_by_the_connections(store, server):
    """A first part that is slow does not let the others run away."""
    server.files = {"config.json": b"{}", "w.safetensors": safetensors(40 * PART)}
    server.fault = once(lambda asked: of_weights(asked) and asked.range.startswith("bytes=0-"), Fault(pause_s=0.5))
    ahead = []
    real = transfer.Assembly.take

    def take(self, part, data):
        ahead.append(part.number - self._turn)
        real(self, part, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer.Assembly, "take", take)
        run(store, server)
    assert 1 < max(ahead) <= BOUNDS.connections


# --- web servers and files


def test_a_file_on_a_web_server(store, server):
    server.files["m.gguf"] = b"GGUF" + os.urandom(PART)
    digest = hashlib.sha256(server.files["m.gguf"]).hexdigest()
    one = Request("g", f"{server.url}/files/m.gguf", f"sha256:{digest}")
    run(store, server, one)
    assert files_of(store, "g", digest[:12])["model.gguf"] == server.files["m.gguf"]
    assert run(store, server, one).changed is False


def test_an_index_with_checksums_names_its_files(store, server):
    names = ["config.json", "model-00001-of-00002.safetensors"]
    lines = [f"{hashlib.sha256(server.files[name]).hexdigest()}  {name}\n" for name in names]
    server.files["SHA256SUMS"] = "".join(lines).encode()
    pin = hashlib.sha256(server.files["SHA256SUMS"]).hexdigest()
    run(store, server, Request("w", f"{server.url}/files/SHA256SUMS", f"sha256:{pin}"))
    assert set(files_of(store, "w", pin[:12])) == {*names, "manifest.json"}
    server.files["SHA256SUMS"] += b"\n"
    with pytest.raises(ContentError, match="the file was replaced"):
        run(store, server, Request("v", f"{server.url}/files/SHA256SUMS", f"sha256:{pin}"))


def test_a_secret_in_an_address_is_not_shown():
    assert shown("https://u:p@h:1/x?signature=abc") == "https://h:1/x"


# --- the Job


def test_the_job_says_how_far_it_is_and_ends_with_a_code_for_each_kind_of_failure(store, server, capsys):
    line = ["--root", str(store.root), "fetch", "--name=tiny", "--source=hf://ORG/NAME", f"--hub-endpoint={server.url}"]
    line += ["--tries=2", f"--revision={COMMIT}"]
    server.gated = True
    assert main(line) == 7
    server.gated = False
    server.fault = lambda asked: Fault(flip=9000) if of_weights(asked) else None
    assert main(line) == 3
    server.fault = lambda asked: None
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert "100 %" in out
    assert "Traceback" not in err
    assert len(err.splitlines()) == 2
    assert main(["--root", str(store.root), "plan", *line[3:]]) == 0
    assert "already published" in capsys.readouterr().out


def test_progress_has_speed_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    said = []
    report = reporter(said.append, every_s=2)
    report(0, 10_000_000_000)
    now[0] += 10
    report(1_000_000_000, 10_000_000_000)
    assert said == ["10 %  1.0 of 10.0 GB  100 MB/s  90 s left"] or said == [
        "10 %  1.0 GB of 10.0 GB  100 MB/s  2 min left"
    ]


# --- old revisions


def kept(store, name, *revisions):
    for at, revision in enumerate(revisions):
        data = f"{name}{revision}".encode()
        files = (stores.FileEntry("f", len(data), hashlib.sha256(data).hexdigest()),)
        import io

        store.publish(stores.Manifest(name, revision, "s", files), lambda _f, data=data: io.BytesIO(data))
        os.utime(store.folder(name, revision) / "manifest.json", (at, at))


def test_old_revisions_go_after_the_newest_few_and_never_while_mounted(store):
    kept(store, "a", "r1", "r2", "r3", "r4")
    kept(store, "b", "r1")
    old = collect.judge(store, {("a", "r4"), ("b", "r1")}, {("a", "r1")}, keep=1)
    assert [(one.revision, one.why_kept) for one in old] == [
        ("r3", "the newest 1 stay"),
        ("r2", ""),
        ("r1", "a pod mounts it"),
    ]
    assert collect.remove(store, old) == len("ar2")
    assert [(one.name, one.revision) for one in store.list()] == [("a", "r1"), ("a", "r3"), ("a", "r4"), ("b", "r1")]


def test_nothing_of_a_model_without_an_entry_stays_where_that_is_asked_for(store):
    kept(store, "a", "r1", "r2")
    kept(store, "gone", "r1", "r2")
    old = collect.judge(store, {("a", "r2")}, {("gone", "r2")}, keep=1, drop_unnamed=True)
    assert {(one.name, one.revision): one.why_kept for one in old} == {
        ("a", "r1"): "the newest 1 stay",
        ("gone", "r1"): "",
        ("gone", "r2"): "a pod mounts it",
    }


def test_what_pods_mount_is_read_from_their_specs():
    def pod(phase, sub_path, claim="models"):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
        mounts = [{"name": "v", "subPath": sub_path}, {"name": "other", "subPath": "x/y"}]
        return {"status": {"phase": phase}, "spec": {"volumes": [volume], "containers": [{"volumeMounts": mounts}]}}

    pods = [pod("Running", "a/r1"), pod("Pending", "b/r2/sub"), pod("Succeeded", "c/r3"), pod("Running", "d/r4", "x")]
    assert collect.mounted({"items": pods}, "models") == {("a", "r1"), ("b", "r2")}


def test_nothing_goes_when_the_cluster_cannot_be_asked(store, capsys):
    kept(store, "a", "r1")
    code = main(["--root", str(store.root), "collect", "--keep=0", "--namespace=llm-engines"])
    assert code == 4
    assert "nothing was removed" in capsys.readouterr().err
    assert len(store.list()) == 1


def test_the_folder_of_a_revision_is_short():
    assert (folder_of(COMMIT), folder_of("sha256:" + "ab" * 32)) == (FOLDER, "ab" * 6)
    assert syncs.check_path("a/b.json") == "a/b.json"


def test_a_folder_of_this_machine_is_published_as_it_is(store, tmp_path):
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "config.json").write_bytes(b"{}")
    (mine / "sub" / "w.safetensors").write_bytes(safetensors(100))
    source = parse(f"file://{mine}")
    outcome = publish_folder(store, "mine", source, "", Wanted())
    assert set(files_of(store, "mine", outcome.manifest.revision)) == {
        "config.json",
        "sub/w.safetensors",
        "manifest.json",
    }
    assert publish_folder(store, "mine", source, outcome.manifest.pin, Wanted()).changed is False
    (mine / "config.json").write_bytes(b"[]")
    with pytest.raises(ContentError, match="and its revision says"):
        publish_folder(store, "mine", source, outcome.manifest.pin, Wanted())
