# SPDX-License-Identifier: Apache-2.0
"""EKS's own images: the public parameters that name them, and the images that these name.

https://docs.aws.amazon.com/eks/latest/userguide/retrieve-ami-id.html
"""

from __future__ import annotations

import re
import zlib

from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter, ssm_backends

from . import network
from .eks.versions import known_versions
from .world import Params, Session, guard

# The account that owns EKS's images, and their release here.
_OWNER, RELEASE = "602401143452", "v20260724"
_AL2023 = re.compile(
    r"/aws/service/eks/optimized-ami/(?P<version>[\d.]+)/amazon-linux-2023/(?P<arch>x86_64|arm64)"
    r"/(?P<variant>standard|nvidia|neuron)/(?P<release>[\w.-]+)/(?P<what>image_id|image_name|release_version)"
)
_BOTTLEROCKET = re.compile(
    r"/aws/service/bottlerocket/aws-k8s-(?P<version>[\d.]+)(?P<variant>-nvidia)?/(?P<arch>x86_64|arm64)"
    r"/(?P<release>latest|[\d.]+)/(?P<what>image_id|image_version)"
)


@guard("ssm", "GetParameter")
def get_parameter(session: Session, params: Params) -> None:
    _provide(session, params["Name"])


@guard("ssm", "GetParameters")
def get_parameters(session: Session, params: Params) -> None:
    for name in params["Names"]:
        _provide(session, name)


def _provide(session: Session, name: str) -> None:
    """Make the parameter and its image when they are first asked for."""
    found = _AL2023.fullmatch(name) or _BOTTLEROCKET.fullmatch(name)
    if found is None or found["version"] not in known_versions():
        return
    arch, version, release = found["arch"], found["version"], found["release"]
    if name.startswith("/aws/service/eks/"):
        image = f"amazon-eks-node-al2023-{arch}-{found['variant']}-{version}-{RELEASE}"
        if (found["variant"] == "neuron" and arch == "arm64") or release not in ("recommended", image):
            return
        values = {"image_name": image, "release_version": f"{version}.4-{RELEASE[1:]}"}
    else:
        image = f"bottlerocket-aws-k8s-{version}{found['variant'] or ''}-{arch}-v1.50.0"
        values = {"image_version": "1.50.0"}
    identifier = _image(session, image, arch)
    value = values.get(found["what"], identifier)
    stored = ssm_backends[session.account][session.region]._parameters
    if not stored[name]:
        stored[name].append(Parameter(session.account, name, value, "String", "", None, None, session.now(), 1, "text"))


def _image(session: Session, name: str, arch: str) -> str:
    identifier = f"ami-{zlib.crc32(f'{session.region} {name}'.encode()):08x}{zlib.crc32(name.encode()):08x}0"
    backend = network.ec2(session)
    if identifier not in backend.amis:
        backend.amis[identifier] = Ami(
            backend,
            identifier,
            name=name,
            description=name,
            owner_id=_OWNER,
            owner_alias="amazon",
            public=True,
            virtualization_type="hvm",
            architecture=arch,
            root_device_type="ebs",
            root_device_name="/dev/xvda",
            hypervisor="xen",
            region_name=session.region,
        )
    return identifier
