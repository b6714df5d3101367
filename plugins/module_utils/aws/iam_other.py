# SPDX-License-Identifier: Apache-2.0
"""Instance profiles, service-linked roles, OIDC providers. https://docs.aws.amazon.com/IAM/latest/APIReference/"""

from __future__ import annotations

from .arguments import text, texts
from .errors import AwsError
from .plan import Plan, Rules, State
from .resource import AwsResource, tag_list, tag_map
from .unknown import is_unknown


class IamInstanceProfile(AwsResource):
    """An instance profile with its one role."""

    service, noun = "iam", "IAM instance profile"
    not_found = ("NoSuchEntity",)
    produces = ("name", "arn")
    arguments = {"name": text(required=True), "role": text()}

    @property
    def where(self) -> dict[str, str]:
        return {"InstanceProfileName": self.params["name"]}

    def read(self) -> State:
        row: State = self.call("get_instance_profile", **self.where)["InstanceProfile"]
        row["role"] = next((role["RoleName"] for role in row["Roles"]), "")
        return row

    def desired(self, current: State | None) -> State:
        return {"role": self.params["role"]}

    def create(self, desired: State) -> None:
        self.call("create_instance_profile", **self.where, Tags=tag_list(self.tags))
        self.update(desired, {"role": ""})

    def update(self, changed: State, current: State) -> None:
        if current["role"]:
            self.call("remove_role_from_instance_profile", **self.where, RoleName=current["role"])
        if changed.get("role"):
            self.call("add_role_to_instance_profile", **self.where, RoleName=changed["role"])

    def remove(self, current: State) -> None:
        self.update({}, current)
        self.call("delete_instance_profile", **self.where)

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        if to_set:
            self.call("tag_instance_profile", **self.where, Tags=tag_list(to_set))
        if to_unset:
            self.call("untag_instance_profile", **self.where, TagKeys=to_unset)

    def made(self, current: State) -> State:
        return {"name": current["InstanceProfileName"], "arn": current["Arn"]}


class IamServiceLinkedRole(AwsResource):
    """A role that a service keeps for itself, once in an account. It is found by its path, and has no marks at creation."""

    service, noun = "iam", "service-linked role"
    not_found = ("NoSuchEntity",)
    key = ("service_name",)
    produces = ("name", "arn")
    rules = Rules()
    arguments = {"service_name": text(required=True), "description": text(), "custom_suffix": text()}

    @property
    def tags(self) -> dict[str, str]:
        return {}

    def read(self) -> State | None:
        path = f"/aws-service-role/{self.params['service_name']}/"
        rows = self.listed("list_roles", "Roles", PathPrefix=path)
        suffix = self.params["custom_suffix"]
        return next(
            (row for row in rows if row["Path"] == path and row["RoleName"].endswith(f"_{suffix}" if suffix else "")),
            None,
        )

    def _refuse_strangers(self, current: State | None) -> None:
        """It is the account's, whoever asked first."""

    def desired(self, current: State | None) -> State:
        return {"Description": self.params["description"]}

    def create(self, desired: State) -> None:
        suffix = {"CustomSuffix": self.params["custom_suffix"]} if self.params["custom_suffix"] else {}
        try:
            name = self.params["service_name"]
            self.call("create_service_linked_role", AWSServiceName=name, **desired, **suffix)
        except AwsError as error:
            if "has been taken" not in str(error):
                raise

    def update(self, changed: State, current: State) -> None:
        self.call("update_role", RoleName=current["RoleName"], Description=changed["Description"])

    def remove(self, current: State) -> None:
        self.call("delete_service_linked_role", RoleName=current["RoleName"])

    def made(self, current: State) -> State:
        return {"name": current["RoleName"], "arn": current["Arn"]}


class IamOidcProvider(AwsResource):
    """A cluster's issuer as an identity provider (IRSA). IAM finds the thumbprint by itself.

    `host`: the issuer as the conditions of trust policies name it, without its scheme.
    """

    service, noun = "iam", "IAM OIDC provider"
    not_found = ("NoSuchEntity",)
    key = ("issuer",)
    produces = ("arn", "host")
    rules = Rules(unordered=("ClientIDList",))
    arguments = {"issuer": text(required=True), "client_ids": texts(default=["sts.amazonaws.com"])}

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
        """By our marks: a cluster that somebody deleted does not say any more what its issuer was. Empty where there is none."""
        for row in self.listed("list_open_id_connect_providers", "OpenIDConnectProviderList") if self.owner else []:
            where = {"OpenIDConnectProviderArn": row["Arn"]}
            tags = tag_map(self.call("get_open_id_connect_provider", **where).get("Tags") or [])
            if self.owner and self.owner.tags.items() <= tags.items():
                return "https://" + str(row["Arn"].partition("oidc-provider/")[2])
        return ""

    def remove(self, current: State) -> None:
        self.call("delete_open_id_connect_provider", **self.where)

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        if to_set:
            self.call("tag_open_id_connect_provider", **self.where, Tags=tag_list(to_set))
        if to_unset:
            self.call("untag_open_id_connect_provider", **self.where, TagKeys=to_unset)

    def made(self, current: State) -> State:
        return {"arn": current["Arn"], "host": self.host}
