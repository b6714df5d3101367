# SPDX-License-Identifier: Apache-2.0
"""The release set: what is downloaded is what was locked."""

import hashlib
import http.server
import io
import tarfile
import threading

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import lock_file
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions


def chart_archive(name, version, text="x"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for file, content in {
            "Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\n",
            "templates/a.yaml": text,
        }.items():
            info = tarfile.TarInfo(f"{name}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    return data.getvalue()


@pytest.fixture
def repository(tmp_path):
    """A chart repository on loopback: `publish(name, version, text)` puts an archive there."""
    folder = tmp_path / "repository"
    folder.mkdir()
    entries = {}

    def publish(name, version, text="x"):
        archive = chart_archive(name, version, text)
        (folder / f"{name}-{version}.tgz").write_bytes(archive)
        listed = [one for one in entries.setdefault(name, []) if one["version"] != version]
        entries[name] = [*listed, {"name": name, "version": version, "urls": [f"{name}-{version}.tgz"]}]
        (folder / "index.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "entries": entries}))
        return f"sha256:{hashlib.sha256(archive).hexdigest()}"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", publish
    server.shutdown()
    server.server_close()


def components(url, version="1.0.0"):
    chart = {"repository": url, "name": "app", "version": version}
    return parse([{"name": "app", "releases": [{"name": "app", "chart": chart}]}])


def test_a_chart_is_locked_by_its_archives_digest_and_other_runs_get_it(repository, tmp_path):
    url, publish = repository
    digest = publish("app", "1.0.0")
    lock = lock_file.resolve(components(url), ChartOptions(cache=tmp_path / "cache"))
    file = tmp_path / "release.lock.yml"
    lock_file.write(lock, file)
    (component,) = lock_file.locked(components(url), file)
    assert component.releases[0].chart.digest == digest
    assert lock_file.read(file) == lock


def test_a_chart_that_is_not_locked_fails_naming_the_command(repository, tmp_path):
    url, __ = repository
    with pytest.raises(lock_file.LockFileError, match=r"chart app 1.0.0 is not in .*playbooks/lock.yml"):
        lock_file.locked(components(url), tmp_path / "release.lock.yml")


def test_what_moved_is_shown_and_a_changed_archive_stands_out(repository, tmp_path):
    url, publish = repository
    publish("app", "1.0.0")
    publish("app", "1.1.0")
    first = lock_file.resolve(components(url), ChartOptions(cache=tmp_path / "one"))
    second = lock_file.resolve(components(url, "1.1.0"), ChartOptions(cache=tmp_path / "one"))
    publish("app", "1.0.0", text="something else")
    third = lock_file.resolve(components(url), ChartOptions(cache=tmp_path / "two"))
    assert lock_file.moves(lock_file.LockFile(), first)[0].startswith("+ app 1.0.0")
    assert lock_file.moves(first, second)[0].startswith("~ app  1.0.0 → 1.1.0")
    assert "the same version is another archive" in lock_file.moves(first, third)[0]
    assert lock_file.moves(first, first) == []


def test_a_file_of_another_form_is_refused(tmp_path):
    file = tmp_path / "release.lock.yml"
    file.write_text("charts: 7\n")
    with pytest.raises(lock_file.LockFileError, match="is not a lock file"):
        lock_file.read(file)


def test_charts_on_this_machine_need_no_lock(tmp_path):
    described = parse([{"name": "app", "releases": [{"name": "app", "chart": {"path": str(tmp_path)}}]}])
    assert lock_file.locked(described, tmp_path / "release.lock.yml") == described
