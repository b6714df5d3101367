# SPDX-License-Identifier: Apache-2.0
"""ECR repositories. https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base.arguments import flag, text
from ..base.errors import AwsError
from ..base.plan import Rules, State
from ..base.resource import AwsResource
from ..base.tagging import Tagging, tag_list

if TYPE_CHECKING:
    from ..survey.item import Item, Looker


class EcrRepository(AwsResource):
    """A repository. `keep_images`: how many images stay; 0 keeps all. Tags are immutable unless `mutable`."""

    kind = "ecr_repository"
    stands_on = ("kms_key",)
    carries_traffic = False
    holds = "the images in it"
    tagging = Tagging("resourceArn", "repositoryArn", tags="tags", keys="tagKeys")
    passing = {}
    service, noun = "ecr", "ECR repository"
    not_found = ("RepositoryNotFoundException",)
    produces = ("name", "arn", "uri")
    rules = Rules(fixed=("encryptionConfiguration",), documents=("lifecycle",))
    arguments = {
        "name": text(required=True),
        "mutable": flag(False),
        "scan_on_push": flag(True),
        "keep_images": {"type": "int", "default": 0},
        "kms_key_arn": text(),
        "force_delete": flag(False),
    }

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        def tags_of(row: State) -> Any:
            return looker.call("ecr", "list_tags_for_resource", resourceArn=row["repositoryArn"])["tags"]

        for row, tags in looker.with_tags(looker.list("ecr", "describe_repositories", "repositories"), tags_of):
            name = row["repositoryName"]
            yield looker.item(cls.kind, name, tags, name=name, price_per_hour=None)

    def read(self) -> State:
        name = self.params["name"]
        row: State = self.listed("describe_repositories", "repositories", repositoryNames=[name])[0]
        tags = self.call("list_tags_for_resource", resourceArn=row["repositoryArn"])["tags"]
        return {**row, "lifecycle": self._lifecycle(), "tags": tags}

    def _lifecycle(self) -> str:
        try:
            name = self.params["name"]
            return str(self.call("get_lifecycle_policy", repositoryName=name)["lifecyclePolicyText"])
        except AwsError as error:
            if error.code != "LifecyclePolicyNotFoundException":
                raise
            return ""

    def desired(self, current: State | None) -> State:
        p = self.params
        key = p["kms_key_arn"]
        return {
            "imageTagMutability": "MUTABLE" if p["mutable"] else "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": p["scan_on_push"]},
            "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": key} if key else None,
            "lifecycle": json.dumps(_keep(p["keep_images"]), sort_keys=True) if p["keep_images"] else "",
        }

    def create(self, desired: State) -> None:
        fields = {key: value for key, value in desired.items() if key != "lifecycle"}
        self.call("create_repository", repositoryName=self.params["name"], **fields, tags=tag_list(self.tags))
        if desired.get("lifecycle"):
            self.update({"lifecycle": desired["lifecycle"]}, {})

    def update(self, changed: State, current: State) -> None:
        where = {"repositoryName": self.params["name"]}
        if "imageTagMutability" in changed:
            self.call("put_image_tag_mutability", **where, imageTagMutability=changed["imageTagMutability"])
        if "imageScanningConfiguration" in changed:
            scan = changed["imageScanningConfiguration"]
            self.call("put_image_scanning_configuration", **where, imageScanningConfiguration=scan)
        if changed.get("lifecycle"):
            self.call("put_lifecycle_policy", **where, lifecyclePolicyText=changed["lifecycle"])
        elif "lifecycle" in changed:
            self.call("delete_lifecycle_policy", **where)

    def remove(self, current: State) -> None:
        self.call("delete_repository", repositoryName=self.params["name"], force=self.params["force_delete"])

    def made(self, current: State) -> State:
        return {"name": current["repositoryName"], "arn": current["repositoryArn"], "uri": current["repositoryUri"]}


def _keep(count: int) -> State:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count}
    rule = {
        "rulePriority": 1,
        "description": f"keep {count} images",
        "selection": selection,
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}
