# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group of nodes of some instance types needs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instance_facts
short_description: What a group of nodes of some instance types needs
description:
  - AMI type, taints, labels, the resource that pods ask for, the device plugin that offers it, local NVMe and EFA.
  - From one table, which preflight and the engines read, too. docs/aws.md says where it is.
options:
  _input:
    description: Instance types of one kind of accelerator and one processor architecture.
    type: list
    elements: str
    required: true
"""
EXAMPLES = r"""
ami: "{{ (['g6.xlarge', 'g6.2xlarge'] | llm.on_eks.instance_facts).ami_type }}"
"""
RETURN = r"""
_value:
  description: >-
    C(kind) (V(cpu), V(gpu), V(neuron)), C(architecture), C(ami_type), C(resource), C(device_resource), C(plugin), C(taints) in
    Kubernetes' spelling, C(labels), C(nvme) (true where every type has local NVMe), C(efa) (interfaces that every type has).
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.reference.accelerators import InstanceTypesError, group_of


def instance_facts(instance_types: Any) -> dict[str, Any]:
    """The facts as plain data."""
    try:
        return group_of([str(name) for name in instance_types])
    except InstanceTypesError as problem:
        raise AnsibleFilterError(f"{problem}.") from problem


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"instance_facts": instance_facts}
