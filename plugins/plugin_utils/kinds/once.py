# SPDX-License-Identifier: Apache-2.0
"""Jobs that remove themselves: with a time to live, a Job runs once for each content."""

from __future__ import annotations

from ...module_utils.names import LABEL_COMPONENT
from ..objects.identity import identity
from .base import Context, Document


def has_run(context: Context, document: Document) -> bool:
    """Whether the last applied revision had this very Job, so that its time to live has removed it since.

    `document`: labelled and placed.
    """
    if document["kind"] != "Job" or (document.get("spec") or {}).get("ttlSecondsAfterFinished") is None:
        return False
    component = document["metadata"]["labels"].get(LABEL_COMPONENT, "")
    applied = context.run.recorder.applied(component)
    if applied is None:
        return False
    recorded = context.run.masker.data(document)
    known = context.run.recorder.documents(component, applied.number)
    return any(one == recorded for one in known if identity(one) == identity(document))
