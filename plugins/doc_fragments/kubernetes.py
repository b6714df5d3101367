# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description: Path of the kubeconfig; empty for the one that kubectl would use.
    type: path
    default: ""
  context:
    description: Context in the kubeconfig; empty for its current one.
    type: str
    default: ""
  host:
    description: URL of the Kubernetes API, instead of a kubeconfig.
    type: str
    default: ""
  api_key:
    description: Bearer token for O(host).
    type: str
    default: ""
  ca_cert:
    description: File with the CA certificates of the API.
    type: path
    default: ""
  client_cert:
    description: File with a client certificate.
    type: path
    default: ""
  client_key:
    description: File with the key of O(client_cert).
    type: path
    default: ""
  validate_certs:
    description: Check the API's certificate.
    type: bool
    default: true
  proxy:
    description: URL of an HTTP proxy on the way to the API.
    type: str
    default: ""
  impersonate_user:
    description: Act as this user.
    type: str
    default: ""
  impersonate_groups:
    description: Act as a member of these groups.
    type: list
    elements: str
    default: []
"""
