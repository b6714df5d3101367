# SPDX-License-Identifier: Apache-2.0
"""A real registry (Debian's docker-registry), and small images in it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode

from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Manifest
from tools.debian import find, install_missing

# bcrypt of "secret", and of what the emulated ECR gives: the registry reads no other form.
HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\nAWS:$2y$05$abcdefghijklmnopqrstuu/4ofrUS75HrKu6f.iuRo0I/XlrmpqlC\n"
BASIC = "Basic " + b64encode(b"user:secret").decode()


def started(folder, *, password=False):
    """(process, host) of a registry that stores in `folder`."""
    install_missing({"docker-registry": "docker-registry"})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    folder.mkdir()
    auth = ""
    if password:
        (folder / "htpasswd").write_text(HTPASSWD)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n{auth}http: {{addr: {host}}}\n"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen(
        [find("docker-registry"), "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=5)
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.1)
    return process, host


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def published(registry, repository, tag, *platforms, layer_bytes=3_000_000):
    """An index with an image for each platform; the digest of the index."""
    entries = []
    for platform in platforms:
        config = json.dumps(
            {"architecture": platform, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        layer = os.urandom(layer_bytes)
        for blob in (config, layer):
            registry.put_blob(repository, digest_of(blob), len(blob), iter([blob[:1000], blob[1000:]]))
        kinds = ("config.v1+json", "layer.v1.tar")
        described = [
            {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest_of(blob), "size": len(blob)}
            for kind, blob in zip(kinds, (config, layer), strict=True)
        ]
        kind = "application/vnd.oci.image.manifest.v1+json"
        content = {"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}
        image = Manifest(json.dumps(content).encode(), kind)
        registry.put_manifest(repository, image.digest, image)
        where = {"os": "linux", "architecture": platform}
        entries.append({"mediaType": kind, "digest": image.digest, "size": len(image.body), "platform": where})
    kind = "application/vnd.oci.image.index.v1+json"
    index = Manifest(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode(), kind)
    registry.put_manifest(repository, tag, index)
    return index.digest
