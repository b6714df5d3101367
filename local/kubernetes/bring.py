# SPDX-License-Identifier: Apache-2.0
"""Obtains what a cluster consists of, in parallel.

Programs keep the processors busy; Debian packages and images mostly wait for network and disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import debian, obtain
from tools.images.__main__ import chosen
from tools.images.build import Plan, build, steps
from tools.images.errors import ImageError
from tools.progress import GivenUp, Progress

from .errors import LocalClusterError

PACKAGES, PACKAGES_CPU_SECONDS = "Debian packages", 15.0


@dataclass(frozen=True)
class Brought:
    """`changed`: whether anything was missing; `tools`: name -> path; `images`: reference -> archive."""

    changed: bool
    tools: dict[str, Path]
    images: dict[str, Path]


def bring(
    tools: list[str], packages: Mapping[str, str], images: Sequence[str], cache: Path, say: Callable[[str], None]
) -> Brought:
    """Raises LocalClusterError.

    `tools`: names of versions.json; `packages`: program -> Debian package; `images`: arguments of `python -m tools.images`, none for
    no images.
    """
    with _as_our_error():
        lane = _Beside(packages, images)
        progress = Progress(obtain.costs(obtain.named(tools), cache) | lane.costs, say)
        if progress:
            with progress.repeated(), ThreadPoolExecutor(2) as lanes:
                both: list[Future[Any]] = [
                    lanes.submit(obtain.obtain, tools, cache, progress),
                    lanes.submit(lane.run, progress),
                ]
                wait(both, return_when=FIRST_EXCEPTION)
                progress.give_up()
            _raise_first([one.exception() for one in both])
        return Brought(bool(progress), obtain.obtain(tools, cache, progress), lane.archives)


class _Beside:
    """Debian packages and images, one after the other."""

    def __init__(self, packages: Mapping[str, str], images: Sequence[str]) -> None:
        self._packages = packages
        self.costs: dict[str, float] = {PACKAGES: PACKAGES_CPU_SECONDS} if debian.missing(packages) else {}
        self._plans: list[Plan] = []
        if images:
            plans, self._options, look_only = chosen(images)
            self._plans = [] if look_only else plans
            self.costs |= steps(self._plans, self._options)

    @property
    def archives(self) -> dict[str, Path]:
        return {one.ref: one.archive for one in self._plans}

    def run(self, progress: Progress) -> None:
        with progress.step(PACKAGES):
            debian.install_missing(self._packages, lambda text: None)
        if self._plans:
            build(self._plans, self._options, progress)


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    """Raise the first error: the other thread only gave up because of it."""
    for error in sorted(filter(None, errors), key=lambda error: isinstance(error, GivenUp)):
        raise error


@contextlib.contextmanager
def _as_our_error() -> Iterator[None]:
    try:
        yield
    except (debian.PackageError, obtain.ObtainError, ImageError) as error:
        raise LocalClusterError(f"local cluster: {error}") from error
