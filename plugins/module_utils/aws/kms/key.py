# SPDX-License-Identifier: Apache-2.0
"""KMS keys. https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import flag, text
from ..base.errors import AwsError, NotFound
from ..base.plan import State
from ..base.resource import AwsResource, Settled
from ..base.tagging import Tagging, tag_list, tag_map
from ..reference.prices import per_hour_of

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class KmsKey(AwsResource):
    """A symmetric key, identified by its alias, which is its name. Deletion is scheduled: KMS never deletes at once."""

    kind = "kms_key"
    stands_on = ()
    carries_traffic = False
    tagging = Tagging("KeyId", "KeyId", form="kms")
    passing = {}
    service, noun = "kms", "KMS key"
    not_found = ("NotFoundException",)
    produces = ("id", "arn", "alias")
    arguments = {
        "name": text(required=True),
        "description": text(),
        "rotation": flag(True),
        "deletion_days": {"type": "int", "default": 30},
    }

    @property
    def alias(self) -> str:
        return f"alias/{self.params['name']}"

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.list("kms", "list_resource_tags", "Tags", KeyId=row["KeyId"])

        for row, tags in looker.with_tags(looker.list("kms", "list_keys", "Keys"), tags_of):
            state = str(looker.call("kms", "describe_key", KeyId=row["KeyId"])["KeyMetadata"]["KeyState"])
            # A key that is pending deletion costs nothing, and stays visible for weeks.
            if state != "PendingDeletion":
                name, price = tags.get("Name", ""), per_hour_of("kms_key")
                yield looker.item(cls.kind, row["KeyId"], tags, name=name, state=state, price_per_hour=price)

    def read(self) -> State | None:
        row, alias = self._by_alias(), self.alias
        if row is None:
            row, alias = self._left_over(), ""
        if row is None or row["KeyState"] == "PendingDeletion":
            return row
        where = {"KeyId": row["KeyId"]}
        row["alias"] = alias
        row["rotation"] = self.call("get_key_rotation_status", **where)["KeyRotationEnabled"]
        row["tags"] = self.listed("list_resource_tags", "Tags", **where)
        return row

    def _by_alias(self) -> State | None:
        try:
            return dict(self.call("describe_key", KeyId=self.alias)["KeyMetadata"])
        except NotFound:
            return None

    def _left_over(self) -> State | None:
        """A key with our name and marks that an interrupted run left without its alias: unused, it would cost money."""
        if self.owner is None:
            return None
        marks = {"Name": self.params["name"], **self.owner.tags}
        named = {row.get("TargetKeyId") for row in self.listed("list_aliases", "Aliases")}
        for listed in self.listed("list_keys", "Keys"):
            if listed["KeyId"] in named:
                continue
            row = self._seen(listed["KeyId"])
            if row and marks.items() <= tag_map(row["tags"]).items():
                return row
        return None

    def _seen(self, identifier: str) -> State | None:
        """A live key with its tags. A key whose policy lets nobody here read it is not ours."""
        where = {"KeyId": identifier}
        try:
            row: State = self.call("describe_key", **where)["KeyMetadata"]
            if row["KeyManager"] != "CUSTOMER" or row["KeyState"] != "Enabled":
                return None
            return {**row, "tags": self.listed("list_resource_tags", "Tags", **where)}
        except AwsError as error:
            if error.code != "AccessDeniedException":
                raise
            return None

    def settled(self, current: State) -> Settled:
        return Settled(current["KeyState"], frozenset({"Enabled"}), leaving=frozenset({"PendingDeletion"}))

    def desired(self, current: State | None) -> State:
        return {"Description": self.params["description"], "rotation": self.params["rotation"], "alias": self.alias}

    def create(self, desired: State) -> None:
        words = {"Description": desired["Description"]} if desired.get("Description") else {}
        tags = tag_list({"Name": self.params["name"], **self.tags}, "TagKey", "TagValue")
        key = self.call("create_key", **words, Tags=tags)["KeyMetadata"]["KeyId"]
        self.update({"alias": self.alias, **({"rotation": True} if desired["rotation"] else {})}, {"KeyId": key})

    def update(self, changed: State, current: State) -> None:
        where = {"KeyId": current["KeyId"]}
        if "alias" in changed:
            self.call("create_alias", AliasName=self.alias, TargetKeyId=current["KeyId"])
        if "Description" in changed:
            self.call("update_key_description", **where, Description=changed["Description"])
        if "rotation" in changed:
            self.call("enable_key_rotation" if changed["rotation"] else "disable_key_rotation", **where)

    def remove(self, current: State) -> None:
        # Without its alias the name is free at once, while the key's deletion is pending.
        if current.get("alias"):
            self.call("delete_alias", AliasName=self.alias)
        self.call("schedule_key_deletion", KeyId=current["KeyId"], PendingWindowInDays=self.params["deletion_days"])

    def made(self, current: State) -> State:
        return {"id": current["KeyId"], "arn": current["Arn"], "alias": self.alias}
