# SPDX-License-Identifier: Apache-2.0
"""The programs of a cluster: command lines and the configuration files they read. Pure: text in, text out."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import controllers, emulator, forward, network, pause
from .config import API_PORT, DNS_PORT, FRONT_DOOR_NODE_PORT, ClusterConfig

CONTROL_PLANE_TOOLS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"]
NODE_TOOLS = [*CONTROL_PLANE_TOOLS, "kubelet", "kube-proxy", "coredns", "helm"]


@dataclass(frozen=True)
class Program:
    """One supervised process. `files`: path -> content of the files that it reads; a change restarts it.

    `folder`: its working folder; None is the supervisor's own.
    """

    name: str
    command: list[str]
    files: dict[Path, str] = field(default_factory=dict)
    stop_seconds: int = 10
    folder: Path | None = None


def programs(config: ClusterConfig, tools: dict[str, Path]) -> list[Program]:
    """All processes, in the order in which they are started."""
    made = [_aws(config)] if config.aws else []
    made += [
        _etcd(config, tools),
        _api_server(config, tools),
        _controller_manager(config, tools),
        _scheduler(config, tools),
    ]
    if config.node:
        made += [
            _containerd(config),
            _kubelet(config, tools),
            _kube_proxy(config, tools),
            _coredns(config, tools),
            _forward(config),
        ]
    if config.aws and config.aws.controllers:
        folder = Path(__file__).resolve().parents[2]
        made += [Program(name, line, folder=folder) for name, line in controllers.commands(config, tools).items()]
    return made


def containerd_socket(config: ClusterConfig) -> Path:
    return config.state / "containerd" / "containerd.sock"


def kubeconfig(config: ClusterConfig, identity: str) -> str:
    """A kubeconfig with everything inline, for one of pki's identities."""
    pki = config.state / "pki"

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": config.name, "cluster": {"server": config.api_url, "certificate-authority-data": inline("ca.crt")}}
        ],
        "users": [
            {
                "name": identity,
                "user": {
                    "client-certificate-data": inline(f"{identity}.crt"),
                    "client-key-data": inline(f"{identity}.key"),
                },
            }
        ],
        "contexts": [{"name": config.name, "context": {"cluster": config.name, "user": identity}}],
        "current-context": config.name,
    }
    return json.dumps(document, indent=1) + "\n"


def _aws(config: ClusterConfig) -> Program:
    return Program(
        emulator.PROGRAM, emulator.command(config), emulator.files(config), folder=Path(__file__).resolve().parents[2]
    )


def _etcd(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    # Loopback of a network namespace that only this cluster's own processes share: no TLS needed.
    urls = ["--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"]
    peers = ["--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"]
    return Program(
        "etcd",
        [
            *network.enter_network(config),
            str(tools["etcd"]),
            "--name=default",
            f"--data-dir={config.state / 'etcd'}",
            *urls,
            *peers,
            "--initial-cluster=default=http://127.0.0.1:2380",
            "--auto-compaction-retention=10m",
            "--quota-backend-bytes=1073741824",
            "--log-level=warn",
        ],
    )


def _api_server(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    pki = config.state / "pki"
    flags = [
        f"--advertise-address={config.node_address}",
        f"--bind-address={config.every_address}",
        f"--secure-port={API_PORT}",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={config.ranges.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--enable-aggregator-routing=true",
        "--profiling=false",
    ]
    files = {emulator.webhook_file(config): emulator.webhook(config)} if config.aws else {}
    webhook = config.token_webhook or next(iter(files), None)
    if webhook:
        flags += [
            f"--authentication-token-webhook-config-file={webhook}",
            "--authentication-token-webhook-version=v1",
            # A refusal is cached as long as an admission, so that a new access entry is soon noticed.
            "--authentication-token-webhook-cache-ttl=5s",
        ]
    return Program("kube-apiserver", [*network.enter_network(config), str(tools["kube-apiserver"]), *flags], files)


def _controller_manager(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    file = config.state / "conf" / "controller-manager.kubeconfig"
    # With a node it shares the node's mounts: the built-in host path provisioner creates its folders there.
    enter = network.enter_node(config) if config.node else network.enter_network(config)
    return Program(
        "kube-controller-manager",
        [
            *enter,
            str(tools["kube-controller-manager"]),
            *_kubeconfigs(file),
            "--bind-address=127.0.0.1",
            f"--service-account-private-key-file={config.state / 'pki' / 'service-accounts.key'}",
            f"--root-ca-file={config.state / 'pki' / 'ca.crt'}",
            f"--requestheader-client-ca-file={config.state / 'pki' / 'front-proxy-ca.crt'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            f"--enable-hostpath-provisioner={str(config.node).lower()}",
        ],
        {file: kubeconfig(config, "controller-manager")},
    )


def _scheduler(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    file = config.state / "conf" / "scheduler.kubeconfig"
    command = [*network.enter_network(config), str(tools["kube-scheduler"]), *_kubeconfigs(file)]
    return Program(
        "kube-scheduler",
        [*command, "--bind-address=127.0.0.1", "--leader-elect=false"],
        {file: kubeconfig(config, "scheduler")},
    )


def _kubeconfigs(file: Path) -> list[str]:
    return [f"--kubeconfig={file}", f"--authentication-kubeconfig={file}", f"--authorization-kubeconfig={file}"]


def _containerd(config: ClusterConfig) -> Program:
    folder = config.state / "containerd"
    file = config.state / "conf" / "containerd.toml"
    cni = config.state / "conf" / "cni"
    text = f"""version = 2
root = "{folder / "root"}"
state = "{folder / "run"}"
oom_score = 0
[grpc]
  address = "{containerd_socket(config)}"
[ttrpc]
  address = "{containerd_socket(config)}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder / "opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause.REFERENCE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{network.plugins(config)}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
    network_list: dict[str, Any] = {
        "cniVersion": "1.0.0",
        "name": "llm",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isDefaultGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(folder / "cni"),
                    "ranges": [[{"subnet": config.ranges.pods}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    files = {file: text, cni / "10-llm.conflist": json.dumps(network_list, indent=1) + "\n"}
    return Program("containerd", [*network.enter_node(config), "containerd", "--config", str(file)], files)


def _kubelet(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    conf, pki = config.state / "conf", config.state / "pki"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{containerd_socket(config)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{config.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "maxOpenFiles": 20000,
        "oomScoreAdj": 0,
        "clusterDNS": [config.dns_service],
        "clusterDomain": "cluster.local",
        "resolvConf": str(conf / "resolv.conf"),
        # The disk is shared with the machine's owner: evict late, and collect no images, because they cannot be pulled
        # again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "500Mi", "imagefs.available": "500Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "containerLogMaxSize": "10Mi",
        # Of its own: a kubelet deletes the logs of pods that it does not know, and those are another cluster's.
        "podLogsDir": str(config.state / "kubelet" / "pod-logs"),
        "volumePluginDir": str(config.state / "kubelet" / "plugins"),
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }
    region = (
        "topology.kubernetes.io/region=local,topology.kubernetes.io/zone=local-a,node.kubernetes.io/instance-type=local"
    )
    files = {
        conf / "kubelet.json": json.dumps(settings, indent=1) + "\n",
        conf / "kubelet.kubeconfig": kubeconfig(config, "kubelet"),
        conf / "resolv.conf": f"nameserver {config.node_address}\n",
    }
    command = [
        str(tools["kubelet"]),
        f"--config={conf / 'kubelet.json'}",
        f"--kubeconfig={conf / 'kubelet.kubeconfig'}",
        f"--root-dir={config.state / 'kubelet'}",
        f"--cert-dir={config.state / 'kubelet' / 'pki'}",
        f"--hostname-override={config.name}",
        f"--node-ip={config.node_address}",
        f"--node-labels={region}",
    ]
    return Program("kubelet", [*network.enter_node(config), *command], files)


def _kube_proxy(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    conf = config.state / "conf"
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": config.name,
        "clientConnection": {"kubeconfig": str(conf / "proxy.kubeconfig")},
        "clusterCIDR": config.ranges.pods,
        # Pods of one bridge answer each other past iptables unless br_netfilter is loaded; masquerading needs no module.
        "iptables": {"masqueradeAll": True, "minSyncPeriod": "100ms"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "bindAddress": config.node_address,
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
    }
    files = {
        conf / "proxy.json": json.dumps(settings, indent=1) + "\n",
        conf / "proxy.kubeconfig": kubeconfig(config, "proxy"),
    }
    command = [str(tools["kube-proxy"]), f"--config={conf / 'proxy.json'}"]
    return Program("kube-proxy", [*network.enter_network(config), *command], files)


def _coredns(config: ClusterConfig, tools: dict[str, Path]) -> Program:
    conf = config.state / "conf"
    corefile = f""".:{DNS_PORT} {{
    bind {config.node_address}
    errors
    health 127.0.0.1:8053
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {conf / "coredns.kubeconfig"}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    cache 5
}}
"""
    files = {conf / "Corefile": corefile, conf / "coredns.kubeconfig": kubeconfig(config, "coredns")}
    command = [str(tools["coredns"]), "-conf", str(conf / "Corefile")]
    return Program("coredns", [*network.enter_network(config), *command], files)


def _forward(config: ClusterConfig) -> Program:
    script = Path(forward.__file__)
    target = [str(config.front_door), config.node_address, str(FRONT_DOOR_NODE_PORT)]
    return Program("front-door", [sys.executable, str(script), *target])


def bootstrap_objects(config: ClusterConfig) -> list[dict[str, Any]]:
    """The objects that a cluster needs before anyone uses it: DNS, the shared storage class and its one static volume."""
    dns_ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", "system:coredns", rules=rules),
        _object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "system:coredns",
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
        ),
        _object(
            "v1",
            "Service",
            "kube-dns",
            namespace="kube-system",
            spec={
                "clusterIP": config.dns_service,
                "ports": [{"name": name, "port": 53, "protocol": protocol} for name, protocol in dns_ports],
            },
        ),
        _object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "kube-dns-node",
            namespace="kube-system",
            labels={"kubernetes.io/service-name": "kube-dns"},
            addressType="IPv6" if config.ip_family == "ipv6" else "IPv4",
            endpoints=[{"addresses": [config.node_address], "conditions": {"ready": True}}],
            ports=[{"name": name, "port": DNS_PORT, "protocol": protocol} for name, protocol in dns_ports],
        ),
        _object(
            "storage.k8s.io/v1",
            "StorageClass",
            "efs",
            provisioner="kubernetes.io/host-path",
            reclaimPolicy="Delete",
            volumeBindingMode="Immediate",
        ),
        # The shared model claim, like that of EFS: one volume, many writers, any user.
        _object(
            "v1",
            "PersistentVolume",
            "models",
            spec={
                "storageClassName": "efs",
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Ti"},
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": "llm-engines",
                    "name": "models",
                },
                "hostPath": {"path": str(config.state / "volumes" / "models"), "type": "Directory"},
            },
        ),
    ]


def _object(
    api_version: str, kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None, **rest: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
