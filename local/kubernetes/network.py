# SPDX-License-Identifier: Apache-2.0
"""The cluster's network namespace and mount namespace, held by files so that they outlive every process.

On the host it only adds one veth device, one address on it, and one file in /run/netns. Bridges, iptables rules,
ip_forward and route_localnet are all inside the namespace and are deleted with it.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from .config import ClusterConfig
from .errors import LocalClusterError

# Where `ip netns` holds namespaces.
NAMESPACES = Path("/run/netns")
# Where Debian's package of network plugins puts them.
PLUGINS = Path("/usr/lib/cni")
# The kubelet sets these machine-wide settings; inside the private mount namespace it writes to files of ours instead.
SHADOWED_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a system command; its own message becomes the error when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise LocalClusterError(f"local cluster: the command {command[0]} is not installed") from None
    if check and done.returncode:
        raise LocalClusterError(
            f"local cluster: `{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done


def network_namespace(config: ClusterConfig) -> Path:
    return NAMESPACES / config.namespace


def mount_namespace(config: ClusterConfig) -> Path:
    return config.state / "ns" / "mnt"


def enter_network(config: ClusterConfig) -> list[str]:
    """Command prefix that runs a program inside the cluster's network."""
    return ["/usr/bin/nsenter", f"--net={network_namespace(config)}", "--"]


def enter_node(config: ClusterConfig) -> list[str]:
    """Command prefix that runs a program inside the cluster's network and mount namespaces."""
    return ["/usr/bin/nsenter", f"--net={network_namespace(config)}", f"--mount={mount_namespace(config)}", "--"]


def up(config: ClusterConfig) -> bool:
    """Create what is missing of the network; True when anything was created."""
    changed = False
    if not network_namespace(config).exists():
        run("ip", "netns", "add", config.namespace)
        changed = True
    if not _is_linked(config):
        run("ip", "link", "delete", config.device, check=False)  # left by an interrupted run
        # Nobody else is on the link: IPv6 need not probe for duplicate addresses first.
        at_once = ["nodad"] if config.ip_family == "ipv6" else []
        run("ip", "link", "add", config.device, "type", "veth", "peer", "name", "eth0", "netns", config.namespace)
        run("ip", "addr", "add", f"{config.host_address}/{config.link_prefix}", "dev", config.device, *at_once)
        run("ip", "link", "set", config.device, "up")
        inside = ("ip", "-n", config.namespace)
        run(*inside, "addr", "add", f"{config.node_address}/{config.link_prefix}", "dev", "eth0", *at_once)
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "route", "add", "default", "via", config.host_address)
        changed = True
    return changed


def _is_linked(config: ClusterConfig) -> bool:
    """Whether the link is complete: the route inside is created last."""
    family = "-6" if config.ip_family == "ipv6" else "-4"
    shown = run("ip", family, "-n", config.namespace, "route", "show", "default", check=False)
    return bool(shown.stdout.strip()) and not run("ip", "link", "show", config.device, check=False).returncode


def hold_mounts(config: ClusterConfig) -> bool:
    """Make the node's private mount namespace; True when it was made."""
    file = mount_namespace(config)
    whole = config.state / "mounts-made"
    if _is_mounted(file) and whole.exists():
        return False
    whole.unlink(missing_ok=True)
    release_mounts(config)
    folder = file.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_mounted(folder):
        # A mount namespace can only be held by a file on a mount that does not propagate.
        run("mount", "--bind", str(folder), str(folder))
        run("mount", "--make-private", str(folder))
    file.touch()
    # Private first: where the host's mounts are shared (systemd), ours must not propagate back to the host.
    run("unshare", f"--mount={file}", "--propagation", "private", "true")
    inside = ("nsenter", f"--mount={file}", "--")
    run(*inside, "mount", "--make-rshared", "/")
    shadows = config.state / "sysctl"
    for name, value in SHADOWED_SYSCTLS.items():
        shadow = shadows / name.replace("/", ".")
        shadow.parent.mkdir(parents=True, exist_ok=True)
        shadow.write_text(f"{value}\n")
        if Path("/proc/sys", name).exists():
            run(*inside, "mount", "--bind", str(shadow), f"/proc/sys/{name}")
    # The controller manager's built-in host path provisioner knows one folder only: /tmp/hostpath_pv.
    dynamic = config.state / "volumes" / "dynamic"
    dynamic.mkdir(parents=True, exist_ok=True)
    run(*inside, "mount", "-t", "tmpfs", "-o", "mode=1777,size=64m", "tmpfs", "/tmp")  # noqa: S108
    run(*inside, "mkdir", "/tmp/hostpath_pv")  # noqa: S108
    run(*inside, "mount", "--bind", str(dynamic), "/tmp/hostpath_pv")  # noqa: S108
    # Where container runtimes keep the network namespaces of pods, and meshes look for them; the host's folder stays out of it.
    pods = config.state / "netns"
    pods.mkdir(exist_ok=True)
    run(*inside, "mount", "--bind", str(pods), str(NAMESPACES))
    whole.touch()
    return True


def plugins(config: ClusterConfig) -> Path:
    """The folder of the node's network plugins; a pod may put one there, as a mesh does."""
    return config.state / "cni"


def link_plugins(config: ClusterConfig) -> bool:
    """Fill the folder of network plugins; True when it was empty."""
    folder = plugins(config)
    folder.mkdir(parents=True, exist_ok=True)
    absent = [one for one in PLUGINS.iterdir() if not (folder / one.name).exists()]
    for one in absent:
        (folder / one.name).unlink(missing_ok=True)
        (folder / one.name).symlink_to(one)
    return bool(absent)


def release_mounts(config: ClusterConfig) -> bool:
    """Let go of the mount namespace; True when it was held."""
    changed = False
    for mounted in (mount_namespace(config), mount_namespace(config).parent):
        while _is_mounted(mounted):
            run("umount", "--lazy", str(mounted))
            changed = True
    return changed


def down(config: ClusterConfig) -> bool:
    """Remove namespaces and device, whichever of them exist; True when anything was removed."""
    changed = release_mounts(config)
    if not run("ip", "link", "show", config.device, check=False).returncode:
        run("ip", "link", "delete", config.device)
        changed = True
    if network_namespace(config).exists():
        run("ip", "netns", "delete", config.namespace)
        changed = True
        _remove_folder_of_namespaces()
    return changed


def _remove_folder_of_namespaces() -> None:
    """`ip netns add` creates the folder as a mount on itself. Whoever needs it again creates it again."""
    if NAMESPACES.exists() and not any(NAMESPACES.iterdir()):
        run("umount", str(NAMESPACES), check=False)
        with contextlib.suppress(OSError):
            NAMESPACES.rmdir()


def _is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())
