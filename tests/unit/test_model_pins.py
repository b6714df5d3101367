# SPDX-License-Identifier: Apache-2.0
"""Branches and tags of models: only the lock file says what they stand for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.filter.file_requests import file_requests
from ansible_collections.llm.on_eks.plugins.module_utils.models import job
from ansible_collections.llm.on_eks.plugins.module_utils.models.controller import NO_CHAT
from ansible_collections.llm.on_eks.plugins.module_utils.models.errors import SyncError
from ansible_collections.llm.on_eks.plugins.module_utils.models.http import Client, Patience
from ansible_collections.llm.on_eks.plugins.module_utils.models.sync import Access
from ansible_collections.llm.on_eks.plugins.modules import model_files
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.lock_file import LockedModel, LockFile, moves, write
from ansible_collections.llm.on_eks.plugins.plugin_utils.models import pins
from ansible_collections.llm.on_eks.plugins.plugin_utils.preflight.engines import check_pins
from tests.support.model_server import COMMIT, TOKEN, ModelServer

REPO = Path(__file__).resolve().parents[2]
CLIENT = Client(Patience(tries=1, timeout_s=5))


def entry(**more):
    return {"name": "m", "source": "hf://ORG/NAME", "revision": "main", "engine": "vllm", **more}


@pytest.fixture
def hub():
    with ModelServer({"config.json": b"{}"}) as server:
        yield server


def test_a_branch_is_resolved_into_the_commit_that_it_is_now(hub):
    adapter = {"name": "a", "source": "hf://ORG/NAME", "revision": ""}
    entries = pins.with_adapters(
        [entry(lora=[adapter]), entry(name="pinned", revision=COMMIT), entry(source="pip://x")]
    )
    found = pins.resolve(entries, Access(hub_endpoint=hub.url), CLIENT)
    assert found == [LockedModel("hf://ORG/NAME", "", COMMIT), LockedModel("hf://ORG/NAME", "main", COMMIT)]


def test_one_file_on_a_web_server_wants_its_digest(hub):
    with pytest.raises(SyncError, match="write its digest as the revision"):
        pins.resolve([entry(source=f"{hub.url}/files/config.json")], Access(), CLIENT)


def test_a_locked_branch_is_served_as_its_commit_and_another_is_refused_with_the_mend(tmp_path):
    file = tmp_path / "release.lock.yml"
    adapter = {"name": "a", "source": "hf://ORG/NAME", "revision": "main"}
    catalog = [entry(lora=[adapter]), entry(name="other", revision="v2"), entry(name="gone", state="absent")]
    said = [f"{one.variable} {one.problem}" for one in check_pins(pins.pinned(catalog, file))]
    assert [one.split()[0] for one in said] == [f"model_catalog[{name}].revision" for name in ("m", "a", "other")]
    write(LockFile(models=[LockedModel("hf://ORG/NAME", "main", COMMIT)]), file)
    found = pins.pinned(catalog, file)
    assert (found[0]["revision"], found[0]["lora"][0]["revision"]) == (COMMIT, COMMIT)
    (left,) = check_pins(found)
    assert "is 'v2', which may be another content tomorrow" in left.problem
    assert "playbooks/lock.yml" in left.mend


def test_what_moved_is_shown():
    before = LockFile(models=[LockedModel("hf://a/b", "main", "1" * 40), LockedModel("hf://c/d", "v1", "2" * 40)])
    after = LockFile(models=[LockedModel("hf://a/b", "main", "3" * 40), LockedModel("hf://e/f", "", "4" * 40)])
    assert moves(before, after) == [
        f"~ hf://a/b main  {'1' * 19} → {'3' * 19}",
        "- hf://c/d v1",
        f"+ hf://e/f main  {'4' * 40}",
    ]


@pytest.mark.programs
def test_the_playbook_writes_the_commit_and_a_run_without_it_is_refused(tmp_path, hub):
    variables = {
        "platform_provider": "existing",
        "platform_kubeconfig": str(tmp_path / "none"),
        "platform_cluster_name": "c",
        "platform_lock_file": str(tmp_path / "release.lock.yml"),
        "platform_images": {"gateway": "g:1", "llamacpp": "l:1", "model_store": "s:1"},
        "models_environment": {"HF_ENDPOINT": hub.url},
        "model_catalog": [entry(engine="vllm")],
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"eks_clusters": {"hosts": {"c": variables}}}))

    def play(name):
        program = Path(sys.executable).parent / "ansible-playbook"
        command = [str(program), f"playbooks/{name}.yml", "-i", str(inventory)]
        environment = {**os.environ, "HF_TOKEN": TOKEN}
        return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)

    refused = play("preflight")
    assert refused.returncode != 0
    assert "model_catalog[m].revision" in refused.stdout + refused.stderr
    done = play("lock")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"+ hf://ORG/NAME main  {COMMIT}" in done.stdout
    written = yaml.safe_load((tmp_path / "release.lock.yml").read_text())
    assert written["models"] == [{"source": "hf://ORG/NAME", "asked": "main", "revision": COMMIT}]
    done = play("preflight")
    assert done.returncode == 0
    assert "m: hf://ORG/NAME has no chat template." in " ".join((done.stdout + done.stderr).split())
    # This machine may read it. The Job has no token.
    hub.gated = True
    assert "ORG/NAME is gated or private: put a token into the Secret" in play("preflight").stdout


def looked(source, **more):
    """What the module says of a source before anything is changed."""
    model = {"name": "m", "source": source, "revision": COMMIT, "include": [], "exclude": [], "quantization": ""}
    model |= {"allow_pickle": False, "chat": False}
    given = {"token": "", "hub_endpoint": "", "s3_endpoint": "", "region": "", "cache": None, "token_elsewhere": False}
    of_model = {key: more.pop(key) for key in list(more) if key in model}
    return model_files.files_of({**given, "models": [model | of_model], "look": True, **more}, check=False)


def found(source, **more):
    """Its files; nothing is wrong with them."""
    said = looked(source, **more)
    assert said["problems"] == []
    return said["models"]["m"]


def wrong(source, **more):
    [problem] = looked(source, **more)["problems"]
    return problem


def test_a_gated_or_missing_repository_is_found_before_anything_is_changed():
    with ModelServer({"config.json": b"{}", "model.bin": b"\\x80"}, gated=True) as hub:
        repository = {"source": "hf://ORG/NAME", "hub_endpoint": hub.url}
        there = {**repository, "allow_pickle": True}
        assert "m: ORG/NAME is gated or private: put a token into the Secret that models_hub" in wrong(**there)
        # The Job has a token that this machine does not have; everybody may see how large it is.
        assert found(**there, token_elsewhere=True)["source_files"] == 2
        hub.private = True
        assert "is gated or private" in wrong(**there)
        assert found(**there, token_elsewhere=True)["source_files"] == 0
        hub.private = False
        assert "accept its terms" in wrong(**there, token="hf_wrong", token_elsewhere=True)
        assert "allow_pickle" in wrong(**repository, token=TOKEN)
        seen = found(**there, token=TOKEN)
        assert (seen["source_files"], seen["source_bytes"]) == (2, len(b"{}") + len(b"\\x80"))
        assert "has no such revision or does not exist" in wrong("hf://ORG/OTHER", hub_endpoint=hub.url)
    (warning,) = looked(**there)["warnings"]
    assert warning.endswith("the sync Job will ask again.")


def test_all_models_are_looked_at_together_and_what_is_wrong_with_each_is_said(tmp_path):
    (tmp_path / "here.gguf").write_bytes(b"GGUF")
    with ModelServer({"config.json": b"{}", "model.safetensors": b"x"}) as hub:
        sources = {
            "good": "hf://ORG/NAME",
            "gone": "hf://ORG/OTHER",
            "here": f"file://{tmp_path}/here.gguf",
            "lost": f"file://{tmp_path}/lost.gguf",
            "odd": "ftp://x/y",
        }
        empty = {"include": [], "exclude": [], "quantization": "", "allow_pickle": False, "chat": False}
        said = model_files.files_of(
            {
                "models": [
                    {**empty, "name": name, "source": source, "revision": COMMIT if source.startswith("hf:") else ""}
                    for name, source in sources.items()
                ],
                "look": True,
                "token": None,
                "hub_endpoint": hub.url,
                "s3_endpoint": "",
                "region": "",
                "token_elsewhere": False,
                "cache": str(tmp_path / "cache"),
            },
            check=False,
        )
    assert set(said["models"]) == {"good", "here"}
    assert sorted(problem.partition(":")[0] for problem in said["problems"]) == ["gone", "lost", "odd"]
    assert all(problem.endswith(".") for problem in said["problems"])
    assert (said["models"]["here"]["path"], said["changed"]) == (f"{tmp_path}/here.gguf", False)


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        ({"engine": "vllm"}, True),
        ({"engine": "vllm", "task": "embed"}, False),
        ({"engine": "vllm", "engine_args": ["--chat-template=x"]}, False),
        ({"engine": "llamacpp"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_only_engines_without_a_template_of_their_own_ask_for_one(entry, asked):
    [request] = file_requests([{"name": "m", "source": "hf://ORG/NAME", **entry}])
    assert request["chat"] is asked


def test_files_are_asked_for_as_the_engine_reads_them():
    entry = {"name": "m", "source": "hf://ORG/NAME", "quantization": "Q4_K_M"}
    entries = [{**entry, "engine": "llamacpp"}, {**entry, "engine": "vllm"}, {**entry, "state": "absent"}]
    assert [one["quantization"] for one in file_requests(entries)] == ["Q4_K_M", ""]


WEIGHTS = {"config.json": b"{}", "empty": b"", "model.safetensors": b"x"}


@pytest.mark.parametrize(
    ("files", "has"),
    [
        ({**WEIGHTS}, False),
        ({**WEIGHTS, "tokenizer_config.json": b'{"bos_token": "<s>"}'}, False),
        ({**WEIGHTS, "tokenizer_config.json": b'{"chat_template": null}'}, False),
        ({**WEIGHTS, "tokenizer_config.json": b"no json"}, False),
        ({**WEIGHTS, "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}, True),
        (
            {**WEIGHTS, "tokenizer_config.json": b'{"chat_template": [{"name": "default", "template": "{{ x }}"}]}'},
            True,
        ),
        ({**WEIGHTS, "chat_template.jinja": b"{{ messages }}"}, True),
        ({**WEIGHTS, "tekken.json": b"{}"}, True),
        ({"m-Q4_K_M.gguf": b"GGUF"}, True),
    ],
    ids=str,
)
def test_a_chat_model_without_a_chat_template_is_found_before_anything_is_fetched(files, has):
    with ModelServer(files) as hub:
        asked_for_chats = looked("hf://ORG/NAME", hub_endpoint=hub.url, chat=True)
        asked_for_completions = looked("hf://ORG/NAME", hub_endpoint=hub.url)
    warnings = [] if has else [f"m: hf://ORG/NAME has no chat template. {NO_CHAT}"]
    assert asked_for_chats["warnings"] == warnings
    assert asked_for_completions["warnings"] == []


def test_a_folder_of_this_machine_is_streamed_as_its_manifest_and_its_files(tmp_path, capsys):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"123456789")
    (folder / "sub" / "config.json").write_text("{}")
    sent = found(f"file://{folder}", revision="", cache=str(tmp_path / "cache"))
    assert (sent["folder"], sent["in_cluster"]) == (True, False)
    stream = b"".join(Path(name).read_bytes() for name in sent["files"])
    line = ["--root", str(tmp_path / "models"), "publish", "--name=m", "--manifest", f"--size={sent['size_bytes']}"]
    assert job.main([*line, f"--sha256={sent['sha256']}"], io.BytesIO(stream)) == 0
    published = tmp_path / "models" / "m" / sent["revision"]
    assert (published / "sub" / "config.json").read_text() == "{}"
    assert job.main([*line, f"--sha256={sent['sha256']}"], io.BytesIO(stream)) == 0
    assert "already published" in capsys.readouterr().out
    flipped = bytearray(stream)
    flipped[-1] ^= 1
    other = ["--root", str(tmp_path / "others"), *line[2:]]
    assert job.main([*other, f"--sha256={sent['sha256']}"], io.BytesIO(bytes(flipped))) == 3
    assert job.main([*other, f"--sha256={'0' * 64}"], io.BytesIO(stream)) == 3
    other_revision = {"revision": "sha256:" + "1" * 64, "cache": str(tmp_path / "cache")}
    assert "and its revision says" in wrong(f"file://{folder}", **other_revision)
