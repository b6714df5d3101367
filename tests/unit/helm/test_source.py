# SPDX-License-Identifier: Apache-2.0
"""Charts come from a repository, a registry, a file, a folder or the mirror, verified, and errors say what to do."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import Chart
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import download
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.errors import ChartError
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.repository import entries_of
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.source import obtain
from tests.support.chart_server import archive, chart_server

CONTENT = archive()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No credentials but the test's own, no proxy, no waiting."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "NETRC", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with chart_server() as served:
        yield served


@pytest.fixture
def options(tmp_path):
    return ChartOptions(cache=tmp_path / "cache")


def chart(repository, **more):
    return Chart(**{"repository": repository, "name": "web", "version": "1.0.0", **more})


@pytest.mark.parametrize("relative", [True, False])
def test_a_chart_comes_from_a_repository(server, options, relative):
    found = obtain(chart(server.repository(CONTENT, relative=relative)), options)
    assert (found.name, found.version, found.digest) == ("web", "1.0.0", DIGEST)
    assert found.path.read_bytes() == CONTENT


def test_a_chart_that_is_here_is_not_asked_for_again(server, options):
    wanted = chart(server.repository(CONTENT))
    obtain(wanted, options)
    count = len(server.asked)
    assert obtain(wanted, options).digest == DIGEST
    assert len(server.asked) == count


def test_a_chart_known_by_its_digest_needs_no_repository(server, options):
    obtain(chart(server.repository(CONTENT)), options)
    elsewhere = chart("http://127.0.0.1:9", digest=f"sha256:{DIGEST}")
    assert obtain(elsewhere, options).digest == DIGEST


def test_a_spoiled_cache_is_filled_anew(server, options):
    wanted = chart(server.repository(CONTENT))
    obtain(wanted, options).path.write_bytes(CONTENT[:-20])
    obtain(chart(server.address), options).path.write_bytes(archive(name="evil"))
    assert obtain(chart(server.address), options).path.read_bytes() == CONTENT


def test_another_digest_than_the_one_asked_for_is_refused(server, options):
    with pytest.raises(ChartError, match=r"has sha256 .*asked for is 0000.*lock\.yml"):
        obtain(chart(server.repository(CONTENT), digest="0" * 64), options)
    assert not list(options.charts.glob("*.tgz")) if options.charts.exists() else True


def test_an_archive_that_its_own_index_disowns_is_refused(server, options):
    server.repository(CONTENT)
    server.pages["/charts/web-1.0.0.tgz"] = (200, {}, archive(version="1.0.0", extra="x"))
    with pytest.raises(ChartError, match="its repository's index says"):
        obtain(chart(server.address), options)


def test_a_missing_version_is_told_with_those_that_are_there(server, options):
    with pytest.raises(ChartError, match=r"no version 9\.9\.9 of web; it begins with 1\.0\.0, 1\.0\.1"):
        obtain(chart(server.repository(CONTENT, CONTENT), version="9.9.9"), options)


def test_a_repository_that_does_not_answer_is_named_with_the_mend(options):
    with pytest.raises(
        ChartError, match=r"chart web 1\.0\.0: http://127\.0\.0\.1:9/index\.yaml does not answer.*platform_chart_mirror"
    ):
        obtain(chart("http://127.0.0.1:9"), options)


def test_a_passing_failure_is_tried_again(server, options):
    server.repository(CONTENT)
    index = server.pages["/index.yaml"]
    server.pages["/index.yaml"] = [(503, {}, b""), (429, {}, b""), index]
    assert obtain(chart(server.address), options).digest == DIGEST


@pytest.mark.parametrize("auth", ["", "basic", "bearer"])
def test_a_chart_comes_from_a_registry(server, options, auth, monkeypatch, tmp_path):
    reference = server.registry(CONTENT, auth=auth)
    registry = server.address.removeprefix("http://")
    encoded = "dXNlcjpjYW5hcnktcGFzc3dvcmQ="  # user:canary-password
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry: {"auth": encoded}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    assert obtain(Chart(oci=reference, version="1.0.0"), options).digest == DIGEST


def test_a_version_with_a_plus_is_found_under_its_tag(server, options):
    content = archive(version="1.0.0+b1")
    reference = server.registry(content, tag="1.0.0_b1")
    assert obtain(Chart(oci=reference, version="1.0.0+b1"), options).version == "1.0.0+b1"


def test_a_registry_that_wants_credentials_says_so(server, options):
    reference = server.registry(CONTENT, auth="basic")
    with pytest.raises(ChartError, match="answers 401; it wants credentials"):
        obtain(Chart(oci=reference, version="1.0.0"), options)


def test_a_registry_that_sends_something_else_is_found_out(server, options):
    reference = server.registry(CONTENT)
    server.pages[f"/v2/team/web/blobs/sha256:{DIGEST}"] = (200, {}, archive(name="evil"))
    with pytest.raises(ChartError, match="not what its manifest says"):
        obtain(Chart(oci=reference, version="1.0.0"), options)


def test_a_password_in_an_address_goes_to_its_host_and_into_no_error(server, options):
    server.repository(CONTENT)
    with_password = server.address.replace("http://", "http://user:canary-password@")
    obtain(chart(with_password), options)
    assert all(authorization.startswith("Basic ") for __, authorization in server.asked)
    with pytest.raises(ChartError) as refused:
        obtain(chart(with_password, version="2.0.0"), options)
    assert "canary" not in str(refused.value)
    assert all("canary" not in path.read_text() for path in (options.charts / "named").iterdir())


def test_the_mirror_is_asked_first(server, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "web-1.0.0.tgz").write_bytes(CONTENT)
    options = ChartOptions(cache=tmp_path / "cache", mirror=tmp_path / "mirror")
    found = obtain(chart(server.repository(archive(extra="other"))), options)
    assert found.digest == DIGEST
    assert not server.asked


def test_a_chart_of_the_mirror_is_held_to_its_digest(tmp_path):
    (tmp_path / "web-1.0.0.tgz").write_bytes(CONTENT)
    options = ChartOptions(cache=tmp_path / "cache", mirror=tmp_path)
    with pytest.raises(ChartError, match="asked for is"):
        obtain(chart("http://127.0.0.1:9", digest="0" * 64), options)


def test_a_folder_has_the_digest_of_its_contents(tmp_path, options):
    (tmp_path / "Chart.yaml").write_text("name: web\nversion: 1.0.0\n")
    first = obtain(Chart(path=str(tmp_path)), options).digest
    (tmp_path / "values.yaml").write_text("a: 1\n")
    second = obtain(Chart(path=str(tmp_path)), options).digest
    assert first != second


def test_an_archive_of_another_chart_is_refused(tmp_path, options):
    (tmp_path / "some.tgz").write_bytes(CONTENT)
    with pytest.raises(ChartError, match=r"holds web 1\.0\.0; mend name or version"):
        obtain(Chart(archive=str(tmp_path / "some.tgz"), name="web", version="2.0.0"), options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give one of repository, oci, archive, path or manifests; it has none"),
        ({"path": "a", "oci": "b"}, "it has oci and path"),
        ({"repository": "http://x", "version": "1.0.0"}, "give its name"),
        ({"repository": "http://x", "name": "web", "version": "1.x"}, "not an exact one"),
        ({"oci": "oci://x/web"}, "not an exact one"),
        ({"path": "a", "digest": "abc"}, "not a sha256"),
        ({"path": "/nowhere"}, "no Chart.yaml"),
        ({"archive": "/nowhere.tgz"}, "no such file"),
    ],
)
def test_what_is_not_a_chart_is_told_in_one_sentence(given, said, options):
    with pytest.raises(ChartError, match=said):
        obtain(Chart(**given), options)


def test_a_long_index_is_read_in_part_only(server, monkeypatch):
    server.repository(CONTENT, padding=2000)
    index = server.pages["/index.yaml"][2]
    assert [entry["version"] for entry in entries_of(index, "web")] == ["1.0.0"]
    assert [entry["name"] for entry in entries_of(index, "other1999")] == ["other1999"]
    assert entries_of(index, "absent") == []
    assert entries_of(json.dumps({"entries": {"web": [{"name": "web"}]}}).encode(), "web") == [{"name": "web"}]


PLAIN = b"""\
apiVersion: v1
kind: ConfigMap
metadata: {name: plain}
data: {text: "{{ braces }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
"""


def manifests(address, **more):
    return Chart(**{"manifests": address, "name": "plain", "version": "1.0.0", **more})


def test_plain_manifests_come_from_their_address_once_and_are_a_chart_from_then_on(server, options):
    server.pages["/install.yaml"] = (200, {}, PLAIN)
    wanted = manifests(f"{server.address}/install.yaml")
    found = obtain(wanted, options)
    assert (found.text, found.digest) == ("plain 1.0.0", hashlib.sha256(PLAIN).hexdigest())
    assert (found.path / "crds" / "manifests.yaml").read_bytes() == PLAIN
    assert obtain(wanted, options) == found
    assert len(server.asked) == 1


def test_plain_manifests_come_from_the_mirror_and_are_held_to_their_digest(options, tmp_path):
    (tmp_path / "plain-1.0.0.yaml").write_bytes(PLAIN)
    options = ChartOptions(cache=options.cache, mirror=tmp_path)
    wanted = manifests("http://127.0.0.1:9/install.yaml")
    assert obtain(wanted, options).digest == hashlib.sha256(PLAIN).hexdigest()
    with pytest.raises(ChartError, match=r"asked for is 0000.*lock\.yml"):
        obtain(manifests("http://127.0.0.1:9/install.yaml", digest="0" * 64), options)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Sign in</p>", b"# nothing yet\n", b"a: [", b"\xff\xfe"])
def test_a_page_that_holds_no_objects_is_refused_and_not_kept(server, options, page):
    server.pages["/install.yaml"] = (200, {}, page)
    with pytest.raises(ChartError, match=r"chart plain 1\.0\.0: .* holds no Kubernetes objects; mend"):
        obtain(manifests(f"{server.address}/install.yaml"), options)
    server.pages["/install.yaml"] = (200, {}, PLAIN)
    assert obtain(manifests(f"{server.address}/install.yaml"), options).digest


def test_plain_manifests_want_a_name_and_an_exact_version(options):
    with pytest.raises(ChartError, match="give its name"):
        obtain(manifests("http://127.0.0.1:9/x.yaml", name=""), options)
    with pytest.raises(ChartError, match="not an exact one"):
        obtain(manifests("http://127.0.0.1:9/x.yaml", version="latest"), options)
