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
from pathlib import Path

from .build import Options, build, plan
from .catalog import IMAGES
from .errors import ImageError

REPO = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: all")
    parser.add_argument("--check", action="store_true", help="build nothing, say what would be built")
    parser.add_argument("--cache", type=Path, default=cache(), help="folder for archives and layers")
    parser.add_argument("--base", default="auto", help="auto, debootstrap, or an image reference")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help="never for secrets")
    parser.add_argument("--volume", action="append", default=[], metavar="HOST:IMAGE:ro", help="seen while building")
    parser.add_argument("--ca-bundle", type=Path, help="certificates that pip trusts while building")
    parser.add_argument("--pip-conf", type=Path, help="pip's configuration while building; default: this machine's")
    chosen = parser.parse_args()
    options = Options(
        cache=chosen.cache,
        base=chosen.base,
        arguments=dict(item.partition("=")[::2] for item in chosen.build_arg),
        volumes=chosen.volume,
        ca_bundle=chosen.ca_bundle,
        pip_conf=chosen.pip_conf,
    )
    try:
        plans = plan(chosen.names or list(IMAGES), REPO, options)
        missing = [one for one in plans if not one.current]
        if not chosen.check:
            build(plans, options)
    except ImageError as failure:
        print(f"images: {failure}.", file=sys.stderr)
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
