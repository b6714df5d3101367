# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tools.images import base, trust
from tools.images.build import Options, plan, require_packages
from tools.images.catalog import IMAGES, USUAL, Image, context_files, digest, reference
from tools.images.errors import ImageError

REPO = Path(__file__).resolve().parents[2]
HERE = Image("here", "context", {"shared.py": "elsewhere/shared.py"})


@pytest.fixture
def repo(tmp_path):
    (tmp_path / "context" / "app" / "tests").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "context" / "app" / "main.py").write_text("print()\n")
    (tmp_path / "context" / "app" / "tests" / "test_main.py").write_text("assert True\n")
    (tmp_path / "elsewhere" / "shared.py").write_text("x = 1\n")
    return tmp_path


def digest_of(repo, arguments=None):
    return digest(context_files(HERE, repo), arguments or {})


def test_the_context_has_what_the_image_needs_and_nothing_else(repo):
    (repo / "context" / ".env").write_text("SECRET=1")
    (repo / "context" / "app" / "__pycache__").mkdir()
    (repo / "context" / "app" / "__pycache__" / "main.pyc").write_bytes(b"")
    assert list(context_files(HERE, repo)) == ["Dockerfile", "app/main.py", "shared.py"]


def change_content(repo):
    (repo / "context" / "app" / "main.py").write_text("print(1)\n")


def change_mode(repo):
    (repo / "context" / "app" / "main.py").chmod(0o755)


def rename(repo):
    (repo / "context" / "app" / "main.py").rename(repo / "context" / "app" / "other.py")


def change_a_file_from_elsewhere(repo):
    (repo / "elsewhere" / "shared.py").write_text("x = 2\n")


@pytest.mark.parametrize("edit", [change_content, change_mode, rename, change_a_file_from_elsewhere])
def test_every_edit_of_the_inputs_is_another_digest(repo, edit):
    before = digest_of(repo)
    edit(repo)
    assert digest_of(repo) != before


def test_build_arguments_are_inputs(repo):
    assert len({digest_of(repo), digest_of(repo, arguments={"A": "1"}), digest_of(repo, arguments={"A": "2"})}) == 3


@pytest.mark.parametrize("name", IMAGES)
def test_another_base_makes_another_image(tmp_path, name):
    (one,), (other,) = (plan([name], REPO, Options(cache=tmp_path, base=base)) for base in ("debian:1", "debian:2"))
    assert one.ref != other.ref


def test_nothing_else_changes_the_digest(repo, tmp_path_factory):
    before = digest_of(repo)
    (repo / "context" / "app" / "tests" / "test_main.py").write_text("assert 1\n")
    (repo / "context" / "app" / "main.py").touch()
    elsewhere = tmp_path_factory.mktemp("other") / "checkout"
    shutil.copytree(repo, elsewhere)
    assert digest_of(repo) == before == digest_of(elsewhere)


def test_the_tag_says_what_is_in_the_image():
    assert reference("gateway", "ab" * 32) == "localhost/llm.on_eks/gateway:sha256-" + "ab" * 6


@pytest.mark.parametrize("name", IMAGES)
def test_each_image_runs_as_a_plain_user_and_installs_without_traces(name):
    text = (REPO / IMAGES[name].context / "Dockerfile").read_text()
    last_stage = text.rpartition("\nFROM ")[2]
    assert "USER 10001" in last_stage
    # An image that is built by name is laid upon what its base has installed.
    assert IMAGES[name].by_name or "pip install" not in last_stage, "pip belongs to the build stage"
    assert "pip install" not in text or "--no-cache-dir" in text
    assert "gcc" not in text
    assert "build-essential" not in text


def test_a_planned_image_is_current_once_its_archive_is_there(tmp_path):
    options = Options(cache=tmp_path, base="debian:1")
    (one,) = plan(["llamacpp"], REPO, options)
    assert not one.current
    one.archive.write_bytes(b"")
    assert plan(["llamacpp"], REPO, options)[0].current


def test_an_unknown_image_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ImageError, match=f"choose from {', '.join(IMAGES)}"):
        plan(["vllm"], REPO, Options(cache=tmp_path, base="debian:1"))


def test_an_image_that_may_download_nothing_is_refused_until_its_packages_are_in_the_cache(tmp_path):
    options = Options(cache=tmp_path / "images", base="debian:1")
    plans = plan(["vllm_cpu"], REPO, options)
    with pytest.raises(
        ImageError, match=r"image vllm_cpu wants packages that are not in the cache .*; run python -m tools.vllm_cpu"
    ):
        require_packages(plans, options)
    (tmp_path / IMAGES["vllm_cpu"].packages[0]).mkdir(parents=True)
    require_packages(plans, options)


def test_an_image_that_was_built_wants_no_packages(tmp_path):
    options = Options(cache=tmp_path / "images", base="debian:1")
    (one,) = plan(["vllm_cpu"], REPO, options)
    one.archive.parent.mkdir()
    one.archive.write_bytes(b"")
    require_packages(plan(["vllm_cpu"], REPO, options), options)


def test_the_usual_images_are_those_that_everybody_needs():
    assert set(USUAL) == {"gateway", "llamacpp", "model_store"}


def test_the_base_that_was_found_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_registry_answers", lambda: False)
    first = base.choose(tmp_path, "auto")
    monkeypatch.setattr(base, "_registry_answers", lambda: pytest.fail("asked again"))
    assert base.choose(tmp_path, "auto") == first
    assert first.made_here
    assert first.reference.startswith("localhost/llm.on_eks/base:")
    assert first.builder.startswith("localhost/llm.on_eks/base:")
    assert first.builder != first.reference


def test_the_official_image_is_taken_where_its_registry_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "_registry_answers", lambda: True)
    assert base.choose(tmp_path, "auto") == base.OFFICIAL


def test_pip_in_a_build_gets_the_index_but_no_paths_of_this_machine():
    listing = "\n".join(
        [
            "global.cert='/etc/ssl/own.crt'",
            "global.index-url='https://user:word@index.example/simple'",
            ":env:.find-links='/opt/wheels'",
            ":env:.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'",
        ]
    )
    assert trust.pip_conf(listing).splitlines() == [
        "[global]",
        "extra-index-url = https://a.example/simple",
        "    https://b.example/simple",
        "index-url = https://user:word@index.example/simple",
    ]


def test_the_bundle_that_clients_here_use_is_found(tmp_path, monkeypatch):
    bundle = tmp_path / "own.crt"
    bundle.write_text("")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    assert trust.ca_bundle() == bundle
