# SPDX-License-Identifier: Apache-2.0
"""The AWS account of a run: the connection, the name that marks what is ours, and the way into the EKS cluster's API."""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass
from typing import Any

from ...module_utils.aws.base.connection import Connection
from ...module_utils.aws.eks.cluster import EksCluster
from ...module_utils.aws.eks.token import LIFETIME_S, token
from ...module_utils.errors import LlmOnEksError
from .client import ApiError, Client
from .connection import Connection as KubernetesConnection
from .connection import Token

# States in which a cluster's API is there.
_SERVING = ("ACTIVE", "UPDATING")
_REFUSED = (401, 403)


class NoClusterError(LlmOnEksError):
    """There is no cluster to talk to."""


@dataclass
class AwsAccess:
    """`cluster`: its name, in EKS and in our tags. `lock_bucket`: holds the lock of runs while there is no cluster."""

    connection: Connection
    cluster: str
    lock_bucket: str = ""

    def client(self) -> Client | None:
        """A client of the cluster's API; None while the cluster is not there, or does not let us in yet."""
        outputs = self.found()
        if not outputs:
            return None
        client = self.client_at(outputs["endpoint"], outputs["certificate_authority"])
        return client if admitted(client) else None

    @property
    def missing(self) -> str:
        """Why there is no client, as a sentence."""
        return (
            f"EKS cluster {self.cluster} is not there, or does not let {self.connection.identity.arn} in; "
            "run the whole site.yml, which makes it, or have an access entry added (cluster_admins)"
        )

    def found(self) -> dict[str, Any]:
        """The outputs of the cluster; empty while its API is not there. Raises AwsError."""
        cluster = EksCluster(self.connection, {"name": self.cluster})
        current = cluster.look()
        return cluster.outputs() if current is not None and current["status"] in _SERVING else {}

    def client_at(self, endpoint: str, certificate_authority: str) -> Client:
        """A client that signs in with EKS tokens. `certificate_authority`: PEM in base64, as EKS gives it."""
        authority = base64.b64decode(certificate_authority)
        return Client(KubernetesConnection(server=endpoint.rstrip("/"), authority=authority, token=Token(self._token)))

    def kubeconfig(self) -> dict[str, Any]:
        """A kubeconfig with a token that is good for 15 minutes. Raises NoClusterError, AwsError."""
        found = self.found()
        if not found:
            raise NoClusterError(f"EKS cluster {self.cluster} is not there yet; run site.yml, which makes it")
        cluster = {"server": found["endpoint"], "certificate-authority-data": found["certificate_authority"]}
        name = self.cluster
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token(self.connection, name)}}],
        }

    def _token(self) -> tuple[str, datetime.datetime]:
        return token(self.connection, self.cluster), datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=LIFETIME_S
        )


def admitted(client: Client) -> bool:
    """Whether the API lets us in: a new cluster does so only once our access entry has propagated."""
    try:
        client.request("GET", "/api/v1/namespaces/kube-system", what="Kubernetes API")
    except ApiError as error:
        if error.status in _REFUSED:
            return False
        raise
    return True
