# SPDX-License-Identifier: Apache-2.0
"""Releases on a whole node: real pods become ready, hooks run real containers, a failing one is quoted."""

import os
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests"))

from ansible_collections.llm.on_eks.plugins.plugin_utils.run import engine  # noqa: E402
from local.kubernetes import pause  # noqa: E402
from local.kubernetes.cluster import Cluster  # noqa: E402
from local.kubernetes.config import ClusterConfig  # noqa: E402
from tests.support import program_image  # noqa: E402
from tests.support.charts import chart_component  # noqa: E402
from tests.support.cluster_client import absent, apply, new_client, read, unique  # noqa: E402
from tests.support.cluster_names import cluster_name  # noqa: E402

pytestmark = [pytest.mark.cluster, pytest.mark.full]
PROGRAM = "localhost/llm.on_eks/test-kubectl:1"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A node with one image besides the sandbox's: kubectl, which ends well without arguments, and badly with a wrong one."""
    cluster = Cluster(ClusterConfig(name=cluster_name("node")))
    cluster.down()
    cluster.up()
    file = tmp_path_factory.mktemp("image") / "kubectl.tar"
    cache = Path(os.environ.get("LLM_ON_EKS_CACHE", Path.home() / ".cache" / "llm.on_eks"))
    kubectl = next(cache.glob("tools/kubectl/*/kubectl"))  # pylint: disable=stop-iteration-return
    program_image.written(PROGRAM, {"kubectl": kubectl}, file)
    cluster.import_images({PROGRAM: file})
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def client(cluster):
    return new_client(cluster.kubeconfig)


@pytest.fixture
def name():
    return unique("n")


@pytest.mark.parametrize("chart", ["web", "secrets"])
def test_a_release_is_done_when_its_pods_are_ready(client, name, chart):
    component = chart_component(name, chart, {"image": pause.REFERENCE})
    apply(client, [component])
    assert read(client, "apps/v1", "Deployment", name, name)["status"]["readyReplicas"] == 1
    assert not engine.converge(engine.Request(descriptors=absent(component), client=client)).errors


def test_hooks_run_to_their_end(client, name):
    result = engine.converge(
        engine.Request(descriptors=[chart_component(name, "hooks", {"image": PROGRAM})], client=client)
    )
    assert not result.errors
    assert read(client, "batch/v1", "Job", f"{name}-post-install-10", name)["status"]["succeeded"] == 1


def test_a_failing_hook_is_quoted(client, name):
    result = engine.converge(
        engine.Request(
            descriptors=[chart_component(name, "hooks", {"image": PROGRAM, "fail": "pre-install"})], client=client
        )
    )
    assert f"pre-install hook Job {name}/{name}-pre-install-2 failed" in result.errors[0]
    assert "unknown flag: --no-such-flag" in result.errors[0]
    mended = engine.converge(
        engine.Request(descriptors=[chart_component(name, "hooks", {"image": PROGRAM})], client=client)
    )
    assert not mended.errors


def test_an_image_that_is_not_there_is_named(client, name):
    component = chart_component(name, "web", {"image": "localhost/nowhere:1"}, timeout=20)
    result = engine.converge(engine.Request(descriptors=[component], client=client))
    assert "localhost/nowhere:1" in result.errors[0]
