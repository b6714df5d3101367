# SPDX-License-Identifier: Apache-2.0
"""Build container images with buildah, without a registry: python -m tools.images NAME...

One JSON object {name: {ref, archive, size_bytes, built}} goes to stdout, progress to stderr. An image is built only when
something it is made of has changed. With --check nothing is built and `built` says what would be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.progress import Progress

from .build import Options, Plan, build, plan, require_packages, steps
from .catalog import IMAGES, USUAL
from .errors import ImageError

REPO = Path(__file__).resolve().parents[2]


def chosen(arguments: Sequence[str] | None = None) -> tuple[list[Plan], Options, bool]:
    """What a command line asks for: the images, how to build them, and whether to look only. Raises ImageError."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: {', '.join(USUAL)}")
    parser.add_argument(
        "--cached", action="append", default=[], metavar="NAME", help="an image that may download nothing"
    )
    parser.add_argument("--check", action="store_true", help="build nothing, say what would be built")
    parser.add_argument("--cache", type=Path, default=cache(), help="folder for archives and layers")
    parser.add_argument("--base", default="auto", help="auto, debootstrap, or an image reference")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help="never for secrets")
    parser.add_argument("--volume", action="append", default=[], metavar="HOST:IMAGE:ro", help="seen while building")
    parser.add_argument("--ca-bundle", type=Path, help="certificates that pip trusts while building")
    parser.add_argument("--pip-conf", type=Path, help="pip's configuration while building; default: this machine's")
    given = parser.parse_args(arguments)
    options = Options(
        cache=given.cache,
        base=given.base,
        arguments=dict(item.partition("=")[::2] for item in given.build_arg),
        volumes=given.volume,
        ca_bundle=given.ca_bundle,
        pip_conf=given.pip_conf,
    )
    plans = plan([*(given.names or USUAL), *given.cached], REPO, options)
    require_packages([one for one in plans if one.image.name in given.cached], options)
    return plans, options, given.check


def say(text: str) -> None:
    print(f"images: {text}", file=sys.stderr, flush=True)


def main() -> int:
    try:
        plans, options, check = chosen()
        missing = [one for one in plans if not one.current]
        if missing and not check:
            progress = Progress(steps(plans, options), say)
            with progress.repeated():
                build(plans, options, progress)
    except ImageError as failure:
        say(f"{failure}.")
        return 1
    result = {
        one.image.name: {
            "ref": one.ref,
            "archive": str(one.archive),
            "size_bytes": one.archive.stat().st_size if one.current else 0,
            "built": one in missing,
        }
        for one in plans
    }
    print(json.dumps({"changed": bool(missing), "images": result}))
    return 0


def cache() -> Path:
    """Where archives and layers are kept."""
    return Path(os.environ.get("LLM_ON_EKS_CACHE") or Path.home() / ".cache" / "llm.on_eks") / "images"


if __name__ == "__main__":
    sys.exit(main())
