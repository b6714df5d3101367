# SPDX-License-Identifier: Apache-2.0
"""OIDC providers. https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import text, texts
from ..base.plan import Plan, Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list, tag_map
from ..base.unknown import is_unknown

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class IamOidcProvider(AwsResource):
    """A cluster's issuer as an identity provider (IRSA). IAM finds the thumbprint by itself.

    `host`: the issuer as the conditions of trust policies name it, without its scheme.
    """

    kind = "iam_oidc_provider"
    stands_on = ("eks_cluster",)
    carries_traffic = False
    tagging = Tagging(
        *("OpenIDConnectProviderArn", "Arn", "tag_open_id_connect_provider", "untag_open_id_connect_provider")
    )
    passing = {}
    service, noun = "iam", "IAM OIDC provider"
    not_found = ("NoSuchEntity",)
    key = ("issuer",)
    produces = ("arn", "host")
    rules = Rules(unordered=("ClientIDList",))
    arguments = {"issuer": text(required=True), "client_ids": texts(default=["sts.amazonaws.com"])}

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.list("iam", "list_open_id_connect_provider_tags", "Tags", OpenIDConnectProviderArn=row["Arn"])

        rows = looker.list("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList")
        for row, tags in looker.with_tags(rows, tags_of):
            yield looker.item(cls.kind, row["Arn"], tags, name=row["Arn"].partition("oidc-provider/")[2])

    @property
    def host(self) -> str:
        return str(self.params["issuer"]).removeprefix("https://").rstrip("/")

    @property
    def where(self) -> dict[str, str]:
        return {"OpenIDConnectProviderArn": self.connection.arn("iam", f"oidc-provider/{self.host}", regional=False)}

    def read(self) -> State:
        row = self.call("get_open_id_connect_provider", **self.where)
        return {**row, "Arn": self.where["OpenIDConnectProviderArn"]}

    def desired(self, current: State | None) -> State:
        return {"ClientIDList": self.params["client_ids"]}

    def create(self, desired: State) -> None:
        issuer = self.params["issuer"]
        self.call("create_open_id_connect_provider", Url=issuer, **desired, Tags=tag_list(self.tags))

    def update(self, changed: State, current: State) -> None:
        wanted, have = set(changed["ClientIDList"]), set(current["ClientIDList"])
        for client in sorted(wanted - have):
            self.call("add_client_id_to_open_id_connect_provider", **self.where, ClientID=client)
        for client in sorted(have - wanted):
            self.call("remove_client_id_from_open_id_connect_provider", **self.where, ClientID=client)

    def plan_delete(self) -> Plan:
        if is_unknown(self.params["issuer"]):
            self.params["issuer"] = self._issuer_of_ours() or self.params["issuer"]
        return super().plan_delete()

    def _issuer_of_ours(self) -> str:
        """The issuer by our marks: when somebody has deleted the cluster, it can no longer be asked. Empty where there is none."""
        for row in self.listed("list_open_id_connect_providers", "OpenIDConnectProviderList") if self.owner else []:
            where = {"OpenIDConnectProviderArn": row["Arn"]}
            tags = tag_map(self.call("get_open_id_connect_provider", **where).get("Tags") or [])
            if self.owner and self.owner.tags.items() <= tags.items():
                return "https://" + str(row["Arn"].partition("oidc-provider/")[2])
        return ""

    def remove(self, current: State) -> None:
        self.call("delete_open_id_connect_provider", **self.where)

    def made(self, current: State) -> State:
        return {"arn": current["Arn"], "host": self.host}
