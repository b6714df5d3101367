# SPDX-License-Identifier: Apache-2.0
"""KMS keys. https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html"""

from __future__ import annotations

from .arguments import flag, text
from .plan import State
from .resource import AwsResource, Settled, tag_list


class KmsKey(AwsResource):
    """A symmetric key, known by its alias, which is its name. Deletion is scheduled: KMS never forgets at once."""

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

    def read(self) -> State | None:
        row: State = self.call("describe_key", KeyId=self.alias)["KeyMetadata"]
        where = {"KeyId": row["KeyId"]}
        if row["KeyState"] == "PendingDeletion":
            return row
        row["rotation"] = self.call("get_key_rotation_status", **where)["KeyRotationEnabled"]
        row["tags"] = self.listed("list_resource_tags", "Tags", **where)
        return row

    def settled(self, current: State) -> Settled:
        return Settled(current["KeyState"], frozenset({"Enabled"}), leaving=frozenset({"PendingDeletion"}))

    def desired(self, current: State | None) -> State:
        return {"Description": self.params["description"], "rotation": self.params["rotation"]}

    def create(self, desired: State) -> None:
        words = {"Description": desired["Description"]} if desired.get("Description") else {}
        tags = tag_list({"Name": self.params["name"], **self.tags}, "TagKey", "TagValue")
        key = self._left_over(tags) or self.call("create_key", **words, Tags=tags)["KeyMetadata"]["KeyId"]
        self.call("create_alias", AliasName=self.alias, TargetKeyId=key)
        if desired["rotation"]:
            self.call("enable_key_rotation", KeyId=key)

    def _left_over(self, tags: list[dict[str, str]]) -> str:
        """A key with exactly our tags that a broken run left without its alias: keys cost, and nobody would find it."""
        aliases = {row.get("TargetKeyId") for row in self.listed("list_aliases", "Aliases")}
        for row in self.listed("list_keys", "Keys") if self.owner else []:
            where = {"KeyId": row["KeyId"]}
            if row["KeyId"] in aliases:
                continue
            metadata = self.call("describe_key", **where)["KeyMetadata"]
            if metadata["KeyManager"] == "CUSTOMER" and metadata["KeyState"] == "Enabled":
                have = self.listed("list_resource_tags", "Tags", **where)
                if all(tag in have for tag in tags):
                    return str(row["KeyId"])
        return ""

    def update(self, changed: State, current: State) -> None:
        where = {"KeyId": current["KeyId"]}
        if "Description" in changed:
            self.call("update_key_description", **where, Description=changed["Description"])
        if "rotation" in changed:
            self.call("enable_key_rotation" if changed["rotation"] else "disable_key_rotation", **where)

    def remove(self, current: State) -> None:
        # Without its alias the name is free at once, while the key waits.
        self.call("delete_alias", AliasName=self.alias)
        self.call("schedule_key_deletion", KeyId=current["KeyId"], PendingWindowInDays=self.params["deletion_days"])

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        if to_set:
            self.call("tag_resource", KeyId=current["KeyId"], Tags=tag_list(to_set, "TagKey", "TagValue"))
        if to_unset:
            self.call("untag_resource", KeyId=current["KeyId"], TagKeys=to_unset)

    def made(self, current: State) -> State:
        return {"id": current["KeyId"], "arn": current["Arn"], "alias": self.alias}
