# SPDX-License-Identifier: Apache-2.0
"""The platform's switches in any combination: every pair of roles, states and variants gives a valid graph, or one clear refusal."""

from __future__ import annotations

import itertools
import json
import random
import re

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.describe.descriptor import DescriptorError, parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.parts import lapsed
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.steps import build
from tests.support.described import REPO, describe, refusals, weights

pytestmark = pytest.mark.programs
BASE = (
    "network",
    "cluster",
    "identity",
    "node_groups",
    "storage_ebs",
    "storage_efs",
    "karpenter_aws",
    "models",
    "gateway",
)
# Systems of the platform: role → its variants, the default first.
SYSTEMS = {
    "gateway_api": [""],
    "metrics_server": [""],
    "prometheus": [""],
    "karpenter": [""],
    "accelerators": [""],
    "load_balancer_controller": [""],
    "keda": [""],
    "prometheus_adapter": ["gateway", "seed"],
    "loki": ["alloy", "seed"],
    "jaeger": [""],
    "kong": ["gateway_api", "seed"],
    "istio": ["ambient", "seed"],
    "kiali": [""],
    "console": ["headlamp"],
    "cost": ["opencost", "seed"],
    "network_policies": [""],
    "pod_security": [""],
    "storage_s3": [""],
}
# Roles whose components are one for each model of their engine; the catalogue here asks for one of them.
ENGINES = {"engine_vllm", "engine_sglang", "engine_tgi", "engine_tgw", "engine_llamacpp"}
ENTRY = {
    "name": "llama-3.1-8b",
    "source": "",
    "engine": "vllm",
    "accelerators": ["g6.xlarge", "g5.xlarge"],
    "replicas": {"min": 1, "max": 4},
    "autoscaling": {"signal": "requests"},
}


def by_role(components):
    """role → its components: a component is named after its role, and what else it is."""
    roles = sorted((*BASE, *SYSTEMS), key=len, reverse=True)
    found = {}
    for component in components:
        role = next((one for one in roles if component["name"] == one or component["name"].startswith(f"{one}_")), "")
        found.setdefault(role, []).append(component)
    return found


@pytest.fixture(scope="module")
def described():
    """(role, variant) → its components, with all systems present; described in two runs, one with all second variants."""
    common = {
        "platform_cluster_name": "demo",
        "platform_provider": "eks",
        "platform_aws_region": "us-west-2",
        "platform_state_bucket": "records",
        "storage_s3_buckets": [{"name": "weights", "bucket": "my-models"}],
        "model_catalog": [{**ENTRY, "source": f"file://{weights()}"}],
        **{f"{role}_state": "present" for role in (*SYSTEMS, "karpenter_aws")},
    }
    second = {f"{role}_variant": variants[1] for role, variants in SYSTEMS.items() if len(variants) > 1}
    hosts = {"default": common, "second": common | second, "seed": common | second | {"identity_variant": "seed"}}
    made = describe(hosts)
    first, other = by_role(made["default"]), by_role(made["second"])
    found = {(role, ""): first[role] for role in BASE}
    found |= {("catalogue", ""): first[""], ("all of it", "seed"): made["seed"]}
    for role, variants in SYSTEMS.items():
        found |= {(role, variant): place[role] for variant, place in zip(variants, (first, other), strict=False)}
    return found


def graph(described, chosen):
    """The graph of all systems; `chosen`: role → (state, variant) of those that differ from the default, present."""
    components = [one for role in BASE for one in described[role, ""]]
    for role, variants in SYSTEMS.items():
        state, variant = chosen.get(role, ("present", variants[0]))
        components += [{**one, "state": state} for one in described[role, variant]]
    return build(parse(components))


def choices(role):
    states = [(state, SYSTEMS[role][0]) for state in ("present", "absent", "skip")]
    return states + [("present", variant) for variant in SYSTEMS[role][1:]]


def covering_rows():
    """Choices for all systems at once, until every two choices of every two systems stood together in a row."""
    options = {role: choices(role) for role in SYSTEMS}
    wanted = {
        ((one, first), (other, second))
        for one, other in itertools.combinations(SYSTEMS, 2)
        for first, second in itertools.product(options[one], options[other])
    }
    chance = random.Random(19)
    while wanted:
        rows = [{role: chance.choice(found) for role, found in options.items()} for __ in range(60)]
        best = max(rows, key=lambda row: len(wanted & set(itertools.combinations(row.items(), 2))))
        wanted -= set(itertools.combinations(best.items(), 2))
        yield best


def test_every_pair_of_states_and_variants_is_a_graph_or_one_clear_refusal(described):
    systems = {key: components for key, components in described.items() if key[0] in (*BASE, *SYSTEMS)}
    owner = {one["name"]: role for (role, __), components in systems.items() for one in components}
    refused = 0
    for chosen in covering_rows():
        while True:
            try:
                assert graph(described, chosen)
                break
            except DescriptorError as problem:
                found = re.search(r"component (\w+) requires (\w+)", str(problem))
                assert found, f"{chosen}: {problem}"
                asking, missing = owner[found[1]], owner[found[2]]
                assert chosen[missing][0] != "present", f"{chosen}: {problem}"
                # What the sentence says is what a user does: leave out the one that stands on it.
                chosen[asking] = ("skip", SYSTEMS[asking][0])
                refused += 1
    assert refused


def test_the_walk_throughs_choice_everywhere_is_a_graph(described):
    assert build(parse(described["all of it", "seed"]))


def test_every_role_that_describes_components_is_among_these():
    roles = {file.parents[1].name for file in REPO.glob("roles/*/templates/components.yml.j2")}
    of_the_account = {"registry"}
    assert roles == {*BASE, *SYSTEMS} | ENGINES | of_the_account


def test_a_system_that_is_switched_off_alone_leaves_a_graph_unless_another_stands_on_it(described):
    stands_on = {"gateway_api": "kong", "istio": "kiali"}
    for role in SYSTEMS:
        off = {role: ("skip", SYSTEMS[role][0])}
        if role in stands_on:
            with pytest.raises(DescriptorError, match=stands_on[role]):
                graph(described, off)
            off[stands_on[role]] = ("skip", SYSTEMS[stands_on[role]][0])
        assert graph(described, off)


def position(vertices, component):
    """All vertices that come before a component's first ones, by component."""
    before, waiting = set(), [v.index for v in vertices if v.component == component]
    while waiting:
        for index in vertices[waiting.pop()].after - before:
            before.add(index)
            waiting.append(index)
    return {vertices[index].component for index in before}


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("prometheus", "prometheus_crds"),
        ("kong", "gateway_api"),
        ("kong", "load_balancer_controller"),
        ("karpenter", "karpenter_crds"),
        ("karpenter", "accelerators"),
        ("karpenter_pools", "karpenter"),
        ("keda_models", "keda"),
        ("loki_agent", "loki"),
        ("istio_llm_engines", "istio_ztunnel"),
        ("istio_ztunnel", "istio_nodes"),
        ("kiali", "istio"),
        ("kong_route", "kong"),
        ("prometheus_content", "prometheus"),
    ],
)
def test_what_is_needed_comes_first(described, later, earlier):
    assert earlier in position(graph(described, {}), later)


def test_crds_of_the_operator_come_before_every_monitor_in_the_values_of_others(described):
    vertices = graph(described, {})
    for (role, variant), components in described.items():
        for component in components:
            asks = re.search(
                r'"serviceMonitor": \{"enabled": true|"kind": "PodMonitor"|trustCRDsExist', json.dumps(component)
            )
            if asks and variant in ("", *(variants[0] for variants in SYSTEMS.values())) and role != "prometheus":
                assert "prometheus_crds" in position(vertices, component["name"]), component["name"]


# --- the twelve defects of the walk-through, where a descriptor shows them


def manifests(described, role, variant=""):
    return [one for component in described[role, variant] for one in component.get("manifests", [])]


def values(described, role, release, variant=""):
    (found,) = [
        one["values"]
        for component in described[role, variant]
        for one in component.get("releases", [])
        if one["name"] == release
    ]
    return found


def test_the_file_system_of_the_models_exists_and_its_class_can_make_volumes(described):
    entries = {entry["type"] for component in described["storage_efs", ""] for entry in component["aws"]}
    assert {"efs_file_system", "efs_mount_target", "ec2_security_group", "efs_access_point"} <= entries
    (klass,) = [one for one in manifests(described, "storage_efs") if one["kind"] == "StorageClass"]
    assert klass["parameters"]["provisioningMode"] == "efs-ap"
    assert klass["parameters"]["fileSystemId"]


def test_the_load_balancer_controller_has_the_role_that_it_needs(described):
    bound = {
        (entry["properties"]["namespace"], entry["properties"]["service_account"])
        for component in described["identity", ""]
        for entry in component["aws"]
        if entry["type"] == "eks_pod_identity_association"
    }
    assert ("kube-system", "aws-load-balancer-controller") in bound


def test_there_are_pools_and_device_plugins_for_what_the_catalogue_names(described):
    pools = {one["metadata"]["name"] for one in manifests(described, "karpenter") if one["kind"] == "NodePool"}
    assert {"g6-xlarge", "g5-xlarge"} <= pools
    releases = [one["name"] for component in described["accelerators", ""] for one in component["releases"]]
    assert "nvidia-device-plugin" in releases


def workloads(described):
    """Every Deployment, Job and CronJob of ours, as its pod's spec."""
    for components in described.values():
        for component in components:
            for one in [*component.get("manifests", []), *(job["manifest"] for job in component.get("jobs", []))]:
                spec = one.get("spec", {})
                spec = spec.get("jobTemplate", {}).get("spec", spec) if one["kind"] == "CronJob" else spec
                if "containers" in spec.get("template", {}).get("spec", {}):
                    home = one["metadata"].get("namespace") or (component.get("namespace") or {}).get("name", "")
                    yield home, spec["template"]["spec"]


def test_every_claim_that_a_pod_mounts_is_described(described):
    claims = {
        (one["metadata"]["namespace"], one["metadata"]["name"])
        for components in described.values()
        for component in components
        for one in component.get("manifests", [])
        if one["kind"] == "PersistentVolumeClaim"
    }
    mounted = {
        (home, volume["persistentVolumeClaim"]["claimName"])
        for home, pod in workloads(described)
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert ("llm-engines", "models") in mounted
    assert mounted <= claims


def test_every_taint_that_an_engine_tolerates_is_one_of_its_pools(described):
    pools = [one for one in manifests(described, "karpenter") if one["kind"] == "NodePool"]
    taints = {taint["key"] for pool in pools for taint in pool["spec"]["template"]["spec"].get("taints", [])}
    tolerated = {
        one["key"] for home, pod in workloads(described) if home == "llm-engines" for one in pod.get("tolerations", [])
    }
    assert tolerated
    assert tolerated <= taints


def test_an_autoscaler_has_the_catalogues_bounds(described):
    for variant in SYSTEMS["prometheus_adapter"]:
        scalers = manifests(described, "prometheus_adapter", variant)
        for one in (found for found in scalers if found["kind"] == "HorizontalPodAutoscaler"):
            assert (one["spec"]["minReplicas"], one["spec"]["maxReplicas"]) == (1, 4)


def test_no_role_trusts_a_pattern_of_service_accounts(described):
    trusts = [
        entry["properties"]["trust_policy"]
        for components in described.values()
        for component in components
        for entry in component.get("aws", [])
        if entry["type"] == "iam_role" and entry["properties"].get("trust_policy")
    ]
    assert trusts
    patterns = [
        statement.get("Condition", {}).get("StringLike", {}) for trust in trusts for statement in trust["Statement"]
    ]
    # The cluster's account, which a descriptor does not know, is the only open part.
    assert {key for pattern in patterns for key in pattern} <= {"aws:RequestTag/eks-cluster-arn"}


def test_loki_and_grafana_have_no_address_outside_of_the_cluster(described):
    """Neither asks who speaks to it without more settings: only a forwarded port leads there."""
    for role, variant in (("loki", "alloy"), ("loki", "seed"), ("prometheus", "")):
        text = json.dumps(described[role, variant])
        assert not re.search(r'"(LoadBalancer|NodePort)"|"ingress": \{"enabled": true', text), role


def test_kong_waits_for_silent_models_and_asks_nobody_twice(described):
    (front,) = [one for one in manifests(described, "kong", "gateway_api") if one["kind"] == "Service"]
    settings = front["metadata"]["annotations"]
    assert int(settings["konghq.com/read-timeout"]) >= 600_000
    assert settings["konghq.com/retries"] == "0"
    (route,) = [one for one in manifests(described, "kong", "gateway_api") if one["kind"] == "HTTPRoute"]
    assert route["metadata"]["annotations"]["konghq.com/response-buffering"] == "false"
    # By default Kong keeps a body that is larger than 8 KiB on its pod's disk until all of it is there (Kong/kong#7418).
    assert route["metadata"]["annotations"]["konghq.com/request-buffering"] == "false"


def test_a_pod_of_kong_is_given_the_time_that_it_waits_for_answers(described):
    gateway = values(described, "kong", "kong", "gateway_api")["gateway"]
    said = gateway["lifecycle"]["preStop"]["exec"]["command"]
    waits = {name: int(seconds) for name, seconds in (one.lstrip("-").split("=") for one in said if "=" in one)}
    # The gateway's own patience (gateway_drain_timeout) is no longer.
    assert waits["timeout"] >= 120
    assert gateway["terminationGracePeriodSeconds"] > waits["wait"] + waits["timeout"]


def test_kong_closes_idle_connections_before_the_gateway_does():
    """Else Kong sends a request where nobody listens any more: 502, as nothing is sent twice. By kong.conf.default it closes them after 60 s."""
    defaults = yaml.safe_load((REPO / "roles/gateway/defaults/main.yml").read_text())
    assert defaults["gateway_keep_alive_timeout"] > 60


def test_what_an_autoscaler_reads_is_offered(described):
    scaler = [
        one for one in manifests(described, "prometheus_adapter", "gateway") if one["kind"] == "HorizontalPodAutoscaler"
    ]
    (metric,) = scaler[0]["spec"]["metrics"]
    offered = values(described, "prometheus_adapter", "prometheus-adapter", "gateway")["rules"]["custom"]
    assert metric["object"]["metric"]["name"] in {rule["name"]["as"] for rule in offered}


def test_there_is_one_prometheus_and_one_grafana(described):
    systems = [components for key, components in described.items() if key[0] in SYSTEMS]
    charts = [one["chart"]["name"] for components in systems for c in components for one in c.get("releases", [])]
    assert charts.count("kube-prometheus-stack") == 1
    assert not {"prometheus", "grafana"} & set(charts)
    kiali = values(described, "kiali", "kiali")["external_services"]
    assert kiali["prometheus"]["url"] == "http://prometheus-operated.monitoring.svc:9090"


def test_who_sends_traces_or_reads_them_asks_a_port_that_jaeger_has(described):
    (service,) = [one for one in manifests(described, "jaeger") if one["kind"] == "Service"]
    ports = {f"jaeger.jaeger.svc:{one['port']}": one["name"] for one in service["spec"]["ports"]}
    (config,) = [one["data"] for one in manifests(described, "gateway") if one["kind"] == "ConfigMap"]
    endpoint = yaml.safe_load(config["config.yaml"])["trace_endpoint"]
    (provider,) = values(described, "istio", "istiod", "ambient")["meshConfig"]["extensionProviders"]
    mesh = provider["opentelemetry"]
    kiali = values(described, "kiali", "kiali")["external_services"]["tracing"]
    assert ports[endpoint.removeprefix("http://")] == "http-otlp"
    assert ports[f"{mesh['service'].removesuffix('.cluster.local')}:{mesh['port']}"] == "grpc-otlp"
    assert (kiali["enabled"], kiali["use_grpc"]) == (True, True)
    assert ports[kiali["internal_url"].removeprefix("http://")] == "grpc-query"


def test_no_values_hold_a_key(described):
    for key, components in described.items():
        for component in components:
            text = json.dumps([release.get("values", {}) for release in component.get("releases", [])])
            assert not re.search(r'"(accessKeyId|secretAccessKey|adminPassword)"', text), key


def test_logs_go_to_a_bucket_that_a_role_may_write_and_nobody_holds_a_key_for(described):
    (loki,) = [one for one in described["loki", "alloy"] if one["name"] == "loki"]
    kinds = [entry["type"] for entry in loki["aws"]]
    assert kinds == ["s3_bucket", "iam_role", "eks_pod_identity_association"]
    storage = values(described, "loki", "loki", "alloy")["loki"]["storage"]
    assert set(storage["s3"]) == {"region"}


def test_the_load_balancer_is_internal_unless_asked(described):
    proxy = values(described, "kong", "kong", "gateway_api")["gateway"]["proxy"]
    assert proxy["annotations"]["service.beta.kubernetes.io/aws-load-balancer-scheme"] == "internal"


def test_no_image_or_chart_is_named_without_a_version(described):
    for components in described.values():
        for component in components:
            for release in component.get("releases", []):
                assert re.match(r"\d", release["chart"]["version"]), release["name"]
            for image in component.get("images", []):
                assert not image.endswith(":latest")
                assert ":" in image.rpartition("/")[2]


def test_pods_of_ours_have_probes_limits_and_no_root(described):
    for key in (("gateway", ""), ("jaeger", "")):
        (deployment,) = [one for one in manifests(described, *key) if one["kind"] == "Deployment"]
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["readinessProbe"]
            assert container["livenessProbe"]
            assert container["resources"]["limits"]["memory"]


def test_sidecars_ask_for_nothing_that_the_namespaces_of_gateway_and_engines_refuse(described):
    """Without Istio's CNI plugin each pod gets a container with NET_ADMIN, which no pod of a restricted or baseline namespace may have."""
    charts = {one["chart"]["name"]: one for c in described["istio", "seed"] for one in c.get("releases", [])}
    assert charts["istiod"]["values"]["cni"] == {"enabled": True}
    assert "cni" in charts


def test_what_is_old_is_only_had_by_asking(described):
    """Promtail, KubeSphere, Kubecost, sidecars, Ingress: each is `variant: seed`, and no default."""
    default = {role: described[role, variants[0]] for role, variants in SYSTEMS.items()}
    charts = {one["chart"]["name"] for cs in default.values() for c in cs for one in c.get("releases", [])}
    assert not charts & {"promtail", "kubesphere", "kubecost", "cost-analyzer"}
    versions = {one["apiVersion"] for one in manifests(described, "karpenter")}
    assert not {version for version in versions if "beta" in version}


def test_the_clusters_version_is_one_with_standard_support():
    spec = yaml.safe_load((REPO / "roles" / "cluster" / "meta" / "argument_specs.yml").read_text())
    minor = int(str(spec["argument_specs"]["main"]["options"]["cluster_version"]["default"]).partition(".")[2])
    assert minor >= 33


def test_kubesphere_is_refused_where_it_cannot_run_and_the_reason_is_said():
    here = {"model_catalog": [], "console_state": "present", "console_variant": "seed"}
    (said,) = refusals({"here": here}).values()
    assert "KubeSphere 3.4.1 runs on Kubernetes 1.20 to 1.26, and the cluster has 1.35" in said
    assert "Set console_variant to headlamp" in said


SIDECAR, AMBIENT = {"sidecar.istio.io/inject": "true"}, {"istio.io/dataplane-mode": "ambient"}


@pytest.fixture(scope="module", params=["seed", "ambient"])
def meshes(request):
    """(variant, state -> name of component -> descriptor, the engine's name): with one model, Prometheus and strict mTLS."""
    here = {
        "platform_cluster_name": "demo",
        "platform_aws_region": "us-west-2",
        "model_catalog": [{**ENTRY, "source": f"file://{weights()}"}],
        "istio_variant": request.param,
        "istio_mtls": "strict",
        "prometheus_state": "present",
    }
    made = describe({state: here | {"istio_state": state} for state in ("present", "absent")})
    named = {state: {one["name"]: one for one in components} for state, components in made.items()}
    [engine] = [name for name in named["present"] if name.startswith("engine-")]
    return request.param, named, engine


def test_pods_join_the_mesh_and_leave_it_because_their_templates_change(meshes):
    """istio/istio#48876: a label of the namespace takes in pods that serve, and cuts their connections."""
    variant, named, engine = meshes
    label = SIDECAR if variant == "seed" else AMBIENT
    for state, asked in (("present", label), ("absent", {})):
        for one in (named[state]["gateway"], named[state][engine]):
            [workload] = [manifest for manifest in one["manifests"] if manifest["kind"] == "Deployment"]
            given = workload["spec"]["template"]["metadata"]["labels"]
            assert {key: value for key, value in given.items() if key in SIDECAR | AMBIENT} == asked
            assert not workload["spec"]["selector"]["matchLabels"].keys() & label.keys()
        [release] = named[state]["prometheus"]["releases"]
        assert release["values"]["prometheus"]["prometheusSpec"]["podMetadata"] == ({"labels": asked} if asked else {})
        assert not [one for one in named[state].values() if (one.get("namespace") or {}).get("labels")]


def test_what_pods_find_in_the_mesh_is_there_before_them_and_strangers_are_refused_last(meshes):
    variant, named, engine = meshes
    vertices = build(parse(list(named["present"].values())))
    first = {"istio_nodes", "istio_llm_gateway"} | (
        {"istio_ztunnel", "istio_tunnel"} if variant == "ambient" else set()
    )
    assert first - {"istio_tunnel"} <= position(vertices, "gateway")
    assert first - {"istio_llm_gateway"} <= position(vertices, engine)
    assert {engine, "gateway", "prometheus"} <= position(vertices, "istio_llm_engines")
    if variant == "seed":
        # A sidecar encrypts what it sends to an engine, whether the engine's pod has a sidecar or not.
        assert engine in position(vertices, "gateway")


def test_strangers_are_let_in_before_pods_leave_and_what_carries_them_goes_last(meshes):
    variant, named, engine = meshes
    vertices = build(parse(list(named["absent"].values())))
    for name in ("gateway", engine, "prometheus"):
        assert "istio_llm_engines" in position(vertices, name)
        for needed in ["istio_llm_gateway", "istio_base"] + (
            ["istio_tunnel", "istio_ztunnel"] if variant == "ambient" else []
        ):
            assert name in position(vertices, needed)
    if variant == "seed":
        assert "gateway" in position(vertices, engine)


@pytest.mark.parametrize("meshes", ["seed"], indirect=True)
def test_the_tunnel_goes_after_the_pods_too_where_the_mesh_is_changed_to_sidecars(meshes):
    """Then no description names it any more."""
    __, named, engine = meshes
    here = parse(list(named["present"].values()))
    installed = [*named["present"], "istio_ztunnel"]
    [gone] = [one for one in lapsed(here, installed) if one.name == "istio_ztunnel"]
    vertices = build([*here, gone], installed)
    assert {"gateway", engine} <= position(vertices, "istio_ztunnel")


def test_what_jaeger_does_not_start_with_is_refused():
    here = {"platform_cluster_name": "demo", "model_catalog": [], "jaeger_state": "present"}
    wrong = {
        "other": {"jaeger_storage": {"elastic": {}}},
        "two": {"jaeger_storage": {"grpc": {"endpoint": "x:1"}}, "jaeger_volume": "5Gi"},
        "days": {"jaeger_retention": "7d"},
    }
    said = refusals({name: here | chosen for name, chosen in wrong.items()})
    assert "jaeger_storage is elastic: Jaeger takes one of memory" in said["other"]
    assert "Empty one of the two" in said["two"]
    assert "jaeger_retention is 7d: Jaeger takes hours and minutes" in said["days"]
