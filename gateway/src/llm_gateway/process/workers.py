# SPDX-License-Identifier: Apache-2.0
"""What worker processes have in common: one set of counts, one readiness, one operator."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from llm_gateway.gateway import Gateway
from llm_gateway.process.siblings import Family
from llm_gateway.telemetry.metrics import counts_only


class WorkerGroup:
    """One worker among its siblings; without a family it is the only one. Implements `web.workers.Workers`."""

    def __init__(self, gateway: Gateway, family: Family | None) -> None:
        self._gateway = gateway
        self._family = family

    async def ready(self) -> bool:
        """See Workers."""
        if self._family is None:
            return True
        return all(answer == b"yes" for answer in (await self._family.ask("ready")).values())

    async def exposed_metrics(self) -> str:
        """See Workers."""
        gateway = self._gateway
        if self._family is None:
            gateway.recorder.flush()
            return gateway.metrics.expose()
        self.keep_counts()
        return gateway.metrics.expose(await self.others_counts())

    async def others_counts(self) -> list[bytes]:
        """See Workers. Of one that does not answer (it is being replaced) those that it left behind."""
        found = []
        family = self._family
        for number, counts in (await family.ask("metrics")).items() if family is not None else ():
            if counts:
                found.append(counts)
            elif family is not None and family.snapshot_file(number).exists():
                found.append(counts_only(family.snapshot_file(number).read_bytes()))
        return found

    async def tell(self, command: str) -> None:
        """See Workers."""
        self._gateway.command(command)
        if self._family is not None:
            await self._family.ask(command)

    def answer(self, question: str) -> bytes:
        """What this worker answers a sibling."""
        if question == "metrics":
            return self.keep_counts()
        if question == "ready":
            return b"yes" if self._gateway.ready else b"no"
        self._gateway.command(question)
        return b""

    def keep_counts(self) -> bytes:
        """Leave the counts where the next worker of this number finds them: a counter must never go back."""
        self._gateway.recorder.flush()
        snapshot = self._gateway.metrics.snapshot()
        if self._family is not None:
            file = self._family.snapshot_file()
            fresh = file.with_suffix(".new")
            fresh.write_bytes(snapshot)
            fresh.replace(file)
        return snapshot

    def take_counts(self) -> None:
        """Go on counting where the last worker of this number ended."""
        if self._family is not None and self._family.snapshot_file().exists():
            with suppress(msgspec.MsgspecError):
                self._gateway.metrics.absorb(self._family.snapshot_file().read_bytes())
