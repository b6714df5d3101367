# SPDX-License-Identifier: Apache-2.0
"""A bundle has all charts and names all images; a changed, missing or foreign file in it is told."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm import binary, bundle, source
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.options import ChartOptions

pytestmark = pytest.mark.programs
POD = """apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, image: "registry.test/app:{{ .Values.tag }}"}]}
"""


def packed(folder, name="app", version="1.2.3"):
    """A chart's archive with one pod."""
    file = folder / f"{name}-{version}.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for path, text in (
            ("Chart.yaml", f"apiVersion: v2\nname: {name}\nversion: {version}\n"),
            ("values.yaml", "tag: '1'\n"),
            ("templates/pod.yaml", POD),
        ):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file


@pytest.fixture
def made(tmp_path):
    chart = {"archive": str(packed(tmp_path))}
    sidecar = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [{"name": "b", "image": "registry.test/own:2"}]},
    }
    components = parse(
        [
            {
                "name": "app",
                "namespace": {"name": "app"},
                "releases": [{"name": "app", "chart": chart, "values": {"tag": "7"}}],
                "manifests": [{**sidecar, "metadata": {"name": "b"}}],
                "images": ["registry.test/listed:3"],
            },
            {"name": "gone", "state": "absent", "images": ["registry.test/gone:1"]},
        ]
    )
    folder = tmp_path / "bundle"
    return components, ChartOptions(cache=tmp_path / "cache", helm=binary.find(ChartOptions())), folder


def test_it_has_the_charts_and_names_the_images_of_charts_and_manifests(made):
    components, options, folder = made
    written = bundle.write(components, options, folder)
    assert written.charts == ("app-1.2.3.tgz",)
    assert written.images == ("registry.test/app:7", "registry.test/listed:3", "registry.test/own:2")
    assert bundle.verify(folder) == 2
    assert subprocess.run(["sha256sum", "--check", "--quiet", bundle.SUMS], cwd=folder, check=False).returncode == 0


def test_an_image_that_an_operator_is_told_by_an_argument_is_named_too(tmp_path):
    told = [
        "--prometheus-config-reloader=quay.io/a/reloader:v1",
        "--web.listen-address=:8080",
        "--url=http://x.test/a:1",
    ]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    pod["spec"] = {"containers": [{"name": "a", "image": "quay.io/a/operator:v1", "args": told}]}
    components = parse([{"name": "app", "namespace": {"name": "app"}, "manifests": [pod]}])
    written = bundle.write(components, ChartOptions(), tmp_path)
    assert written.images == ("quay.io/a/operator:v1", "quay.io/a/reloader:v1")


def test_its_charts_are_a_mirror_that_is_asked_before_the_repository(made):
    components, options, folder = made
    bundle.write(components, options, folder)
    chart = parse(
        [
            {
                "name": "app",
                "releases": [
                    {"name": "app", "chart": {"repository": "https://nowhere.test", "name": "app", "version": "1.2.3"}}
                ],
            }
        ]
    )[0]
    found = source.obtain(chart.releases[0].chart, ChartOptions(cache=options.cache, mirror=folder / bundle.CHARTS))
    assert found.path.parent == folder / bundle.CHARTS


def test_the_same_again_writes_nothing_and_what_is_no_longer_used_goes(made):
    components, options, folder = made
    bundle.write(components, options, folder)
    (folder / bundle.CHARTS / "old-1.0.0.tgz").write_bytes(b"old")
    assert bundle.write(components, options, folder).changed
    assert not (folder / bundle.CHARTS / "old-1.0.0.tgz").exists()
    assert not bundle.write(components, options, folder).changed


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "images.txt").write_text("evil\n"), "images.txt was changed"),
        (lambda folder: (folder / "charts" / "app-1.2.3.tgz").unlink(), "charts/app-1.2.3.tgz is missing"),
        (lambda folder: (folder / "charts" / "x-1.0.0.tgz").write_text("x"), "charts/x-1.0.0.tgz is not listed"),
    ],
)
def test_what_is_not_as_it_was_written_is_named(made, spoil, said):
    components, options, folder = made
    bundle.write(components, options, folder)
    spoil(folder)
    with pytest.raises(bundle.BundleError, match=said):
        bundle.verify(folder)


def test_a_folder_that_is_no_bundle_is_told_how_one_is_made(tmp_path):
    with pytest.raises(bundle.BundleError, match=r"is not a bundle: .* bundle_out="):
        bundle.verify(tmp_path)
