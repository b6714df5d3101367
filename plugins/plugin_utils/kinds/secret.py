# SPDX-License-Identifier: Apache-2.0
"""Secrets that must exist, are made once, or follow from another. No value leaves this file but to the API."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

from ...module_utils.names import LABEL_COMPONENT, LABEL_MANAGED_BY, MANAGED_BY
from ..describe.descriptor import Derive, Generate, Secret
from ..objects.identity import Identity, identity
from .base import Action, Context, Document, NodeError, Outcome, subject
from .manifest import apply, is_strange, labelled


@dataclass
class SecretNode:
    """One entry of the descriptor's `secrets`."""

    component: str
    secret: Secret
    namespace: str
    slow: bool = False

    @property
    def name(self) -> str:
        return f"secret {self.secret.name}"

    def run(self, context: Context) -> Outcome:
        live = self._read(context, self.secret.name, self.namespace)
        if live:
            context.run.masker.learn_document({"kind": "Secret", **live})
        if self.secret.from_ == "existing":
            if live is None:
                raise NodeError(f"Secret {self.namespace}/{self.secret.name} does not exist; make it before the run")
            return Outcome()
        context.desire(self.component, [labelled(self._document({}), self.component)])
        present = (live or {}).get("data") or {}
        values = {key: self._generated(context, how) for key, how in self.secret.generate.items() if key not in present}
        for key, how in self.secret.derive.items():
            value = self._derived(context, how)
            if value is None:  # its source is only made in this run
                context.desired.make_object(identity(self._document({})))
                return Outcome([Action("create", subject(self._document({})))])
            if present.get(key) != _encoded(value):
                values[key] = value
        # One that somebody else made is used as it is; one of ours moves with its component.
        if live is not None and not values and (is_strange(live) or self._is_marked(live)):
            return Outcome()
        data = {key: _encoded(value) for key, value in values.items()}
        # Keys of ours that are there already must be named again: server-side apply takes back what is left out.
        kept = {key: present[key] for key in (*self.secret.generate, *self.secret.derive) if key in present}
        return apply(context, labelled(self._document({**kept, **data}), self.component))

    def _is_marked(self, live: Document) -> bool:
        labels = live["metadata"].get("labels") or {}
        return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_COMPONENT) == self.component

    def _document(self, data: dict[str, str]) -> Document:
        metadata = {"name": self.secret.name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}

    def _derived(self, context: Context, how: Derive) -> str | None:
        namespace = how.namespace or self.namespace
        source = self._read(context, how.secret, namespace)
        encoded = ((source or {}).get("data") or {}).get(how.key)
        if encoded is None:
            if context.run.check and context.desired.makes_object(Identity("", "Secret", namespace, how.secret)):
                return None
            raise NodeError(
                f"Secret {self.namespace}/{self.secret.name} is derived from key {how.key} of Secret {namespace}/{how.secret}, which does not exist"
            )
        value = base64.b64decode(encoded)
        context.run.masker.learn(value.decode())
        return how.format.format(value=value.decode(), sha256=hashlib.sha256(value).hexdigest())

    @staticmethod
    def _generated(context: Context, how: int | Generate) -> str:
        wanted = how if isinstance(how, Generate) else Generate(bytes=how)
        value = wanted.prefix + secrets.token_urlsafe(wanted.bytes)
        context.run.masker.learn(value)
        return value

    @staticmethod
    def _read(context: Context, name: str, namespace: str) -> Document | None:
        return context.run.live("v1", "Secret", name, namespace)


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
