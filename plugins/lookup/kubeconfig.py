# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
name: kubeconfig
short_description: The way into the host's cluster, for modules of kubernetes.core
description:
  - Returns what the option O(kubernetes.core.k8s#module:kubeconfig) of the modules of kubernetes.core takes, for the cluster of this host.
  - Where C(platform_kubeconfig) is set, that is its path.
  - Otherwise, with C(platform_provider=eks), it asks AWS for the cluster's address, signs a token as C(aws eks get-token) does, and writes
    a kubeconfig (mode 0600) into the run's own temporary folder, which Ansible removes at the end. No program is started. The token is good
    for 15 minutes, so look it up in each task.
  - It returns a path and no token, since modules show their options in the output of B(-vvv).
  - Otherwise it is the file that kubectl would use.
options: {}
author:
  - llm.on_eks maintainers (@llm-on-eks)
"""

EXAMPLES = r"""
- name: Tasks of your own, on the same cluster
  hosts: eks_clusters
  gather_facts: false
  module_defaults:
    group/kubernetes.core.k8s:
      kubeconfig: "{{ lookup('llm.on_eks.kubeconfig') }}"
  tasks:
    - name: Read the gateway's pods
      kubernetes.core.k8s_info:
        kind: Pod
        namespace: llm-gateway
      register: pods
"""

RETURN = r"""
_raw:
  description: The path of a kubeconfig.
  type: list
  elements: path
"""

import json
import os
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.module_utils.files import write_whole
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import aws_from

_ACCOUNT = ("region", "profile", "credentials_file", "endpoint_url")
_ASKED = ("kubeconfig", "provider", "cluster_name", *(f"aws_{name}" for name in _ACCOUNT))


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        if terms:
            raise AnsibleLookupError(
                f"llm.on_eks.kubeconfig takes no terms, but was given {terms}: it is about this host's cluster"
            )
        given = self._given(variables or {})
        if given["kubeconfig"] or given["provider"] != "eks":
            return [given["kubeconfig"] or os.environ.get("KUBECONFIG") or "~/.kube/config"]
        try:
            access = aws_from(
                {"aws": {name: given[f"aws_{name}"] for name in _ACCOUNT}, "cluster": given["cluster_name"]}
            )
            if access is None:
                raise AnsibleLookupError("platform_aws_region is not set; set it to the region of the cluster")
            file = Path(constants.DEFAULT_LOCAL_TMP) / f"kubeconfig-{access.cluster}"
            write_whole(file, json.dumps(access.kubeconfig()), private=True)
            return [str(file)]
        except LlmOnEksError as error:
            raise AnsibleLookupError(str(error)) from error

    def _given(self, variables: dict[str, Any]) -> dict[str, str]:
        """The platform's variables that say where the cluster is; empty where one is not set."""
        values = {name: variables.get(f"platform_{name}") or "" for name in _ASKED}
        values["cluster_name"] = values["cluster_name"] or variables["inventory_hostname"]
        return {name: str(self._templar.template(value)) for name, value in values.items()}
