# SPDX-License-Identifier: Apache-2.0
"""Volumes that grow: their claims are asked for more, and a StatefulSet, whose templates are fixed, is made anew around its pods.

Kubernetes does neither (https://github.com/kubernetes/enhancements/issues/661). Operators make their sets anew and leave
the claims as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..kubernetes.client import ApiError
from ..objects.compare import changes
from ..objects.quantity import quantity
from .base import Action, Context, Document, NodeError, subject
from .claims import claims_by_template

# Kinds of the Prometheus operator that have one template.
_OPERATED = ("Prometheus", "Alertmanager", "ThanosRuler")
_OPERATORS_GROUP = "monitoring.coreos.com/"


@dataclass(frozen=True)
class Growth:
    """Claims that ask for less than their templates: as they are, and what each is to ask for."""

    claims: Sequence[tuple[Document, str]] = ()

    def actions(self) -> list[Action]:
        grown = [(claim, _of(claim, size)) for claim, size in self.claims]
        return [Action("update", subject(claim), changes(claim, made), claim, made) for claim, made in grown]

    def carry_out(self, context: Context) -> None:
        for claim, size in self.claims:
            _ask(context, claim, size, dry_run=False)


def sizes_of(document: Document) -> dict[str, str]:
    """What the templates of a StatefulSet ask for, by their names; of an operator's kind, for all its claims, by an empty name."""
    spec = document.get("spec") or {}
    if document["kind"] == "StatefulSet":
        templates = spec.get("volumeClaimTemplates") or []
        found = {template["metadata"]["name"]: _asked(template.get("spec") or {}) for template in templates}
    elif document["kind"] in _OPERATED and document["apiVersion"].startswith(_OPERATORS_GROUP):
        template = (spec.get("storage") or {}).get("volumeClaimTemplate") or {}
        found = {"": _asked(template.get("spec") or {})}
    else:
        return {}
    return {name: size for name, size in found.items() if size}


def growth_of(context: Context, document: Document, live: Document | None) -> tuple[Growth, list[str]]:
    """(what claims of a StatefulSet, or of an operator's, get; notes about those that cannot). `live`: the object as it is.

    Raises NodeError where the API refuses what grows in this run; that an earlier template left a claim small is a note.
    """
    asked = sizes_of(document)
    if live is None or not asked:
        return Growth(), []
    taken, notes = [], []
    for template, claim in claims_by_template(context.run.api(), [live]):
        size = asked.get(template) or asked.get("", "")
        if not _is_less(_asked(claim["spec"]), size):
            continue
        try:
            _ask(context, claim, size, dry_run=True)
            taken.append((claim, size))
        except NodeError as refused:
            if grows(document, live):
                raise
            notes.append(str(refused))
    return Growth(taken), notes


def grows(document: Document, live: Document) -> bool:
    """Whether templates ask for more than those of the live object."""
    before = sizes_of(live)
    return any(_is_less(before.get(name), size) for name, size in sizes_of(document).items())


def refuse_shrinking(document: Document, live: Document) -> None:
    """Raises NodeError where templates ask for less than those of the live object."""
    before = sizes_of(live)
    for name, size in sizes_of(document).items():
        if _is_less(size, before.get(name)):
            raise NodeError(
                f"{subject(document)}: its volumes {name} have {before[name]}, and volumes do not shrink; "
                f"ask for {before[name]} or more"
            )


def as_small(document: Document, live: Document) -> Document | None:
    """A StatefulSet with the sizes of the live one; None where it has no larger ones."""
    wanted, before = sizes_of(document), sizes_of(live)
    same_volumes = document["kind"] == "StatefulSet" and wanted.keys() == before.keys()
    return with_sizes(document, before) if same_volumes and grows(document, live) else None


def with_sizes(document: Document, sizes: dict[str, str]) -> Document:
    made = copy.deepcopy(document)
    for template in made["spec"]["volumeClaimTemplates"]:
        template["spec"]["resources"]["requests"]["storage"] = sizes[template["metadata"]["name"]]
    return made


def _asked(spec: Document) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage") or "")


def _is_less(one: Any, other: Any) -> bool:
    left, right = quantity(one), quantity(other)
    return left is not None and right is not None and left < right


def _of(claim: Document, size: str) -> Document:
    made = copy.deepcopy(claim)
    made["spec"]["resources"]["requests"]["storage"] = size
    return made


def _ask(context: Context, claim: Document, size: str, *, dry_run: bool) -> None:
    client, metadata = context.run.api(), claim["metadata"]
    resource = client.resource("v1", "PersistentVolumeClaim")
    wanted: Document = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {"resources": {"requests": {"storage": size}}},
    }
    try:
        if resource:
            client.apply(resource, wanted, dry_run=dry_run, force=True)
    except ApiError as error:
        if error.status not in (403, 422):
            raise
        raise NodeError(
            f"{subject(claim)} has {_asked(claim['spec'])} and cannot get {size}: {error}. Ask for no more, or use a storage "
            "class with allowVolumeExpansion"
        ) from None
