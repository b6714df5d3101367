# SPDX-License-Identifier: Apache-2.0
"""Bring here what a cluster is made of, side by side: its programs, which keep the processors busy, and Debian packages and images,
which wait for network and disk most of the time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from tools import debian, obtain
from tools.images.__main__ import chosen
from tools.images.build import build, steps
from tools.images.errors import ImageError
from tools.progress import GivenUp, Progress

from .errors import LocalClusterError

PACKAGES, PACKAGES_CPU_SECONDS = "Debian packages", 15.0


def bring(
    tools: list[str], packages: Mapping[str, str], images: Sequence[str], cache: Path, say: Callable[[str], None]
) -> tuple[bool, dict[str, Path]]:
    """Whether anything was missing, and the paths of the tools. Raises LocalClusterError.

    `tools`: names of versions.json; `packages`: program -> Debian package; `images`: arguments of `python -m tools.images`, none for
    no images.
    """
    with _as_our_error():
        plans, options, look_only = chosen(images) if images else ([], None, True)
        costs = obtain.costs(obtain.named(tools), cache)
        costs |= {PACKAGES: PACKAGES_CPU_SECONDS} if debian.missing(packages) else {}
        costs |= {} if look_only else steps(plans, options)
        progress = Progress(costs, say)

        def beside() -> None:
            with progress.step(PACKAGES):
                debian.install_missing(packages, lambda text: None)
            if not look_only:
                build(plans, options, progress)

        if costs:
            with progress.repeated(), ThreadPoolExecutor(2) as lanes:
                both = [lanes.submit(obtain.obtain, tools, cache, progress), lanes.submit(beside)]
                wait(both, return_when=FIRST_EXCEPTION)
                progress.give_up()
            _raise_first([lane.exception() for lane in both])
        return bool(costs), obtain.obtain(tools, cache, progress)


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    """What went wrong first: the other lane only gave up."""
    for error in sorted(filter(None, errors), key=lambda error: isinstance(error, GivenUp)):
        raise error


@contextlib.contextmanager
def _as_our_error() -> Iterator[None]:
    try:
        yield
    except (debian.PackageError, obtain.ObtainError, ImageError) as error:
        raise LocalClusterError(f"local cluster: {error}") from error
