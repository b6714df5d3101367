# SPDX-License-Identifier: Apache-2.0
"""Push our images to an account's ECR, or to another registry: python -m tools.images.push --region REGION NAME...

--mirror NAME=REFERENCE@DIGEST copies an image of others there, too. One JSON object {name: reference} goes to stdout, progress to
stderr. What the registry has is neither built nor moved again; our tags are made of the content. With --check nothing is built or moved,
and `changed` says whether it would be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.plugin_utils.helm.download import registry_credentials
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.ecr import Ecr, Login
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.mirror import copy
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.reference import Reference, ReferenceError, parse
from ansible_collections.llm.on_eks.plugins.plugin_utils.images.registry import Registry, RegistryError, is_local
from tools.progress import Progress

from .__main__ import REPO, cache, say
from .build import Options, Plan, build, plan, steps
from .buildah import Buildah, open_store
from .catalog import IMAGES, USUAL
from .errors import ImageError


@contextmanager
def login_file(login: Login) -> Iterator[Path]:
    """A private file for buildah, deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="llm-on-eks-login-") as folder:  # 0700
        file = Path(folder) / "auth.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": {login.host: {"auth": login.auth}}}), encoding="utf-8")
        yield file


class Target(Protocol):
    """Where images go."""

    def login(self) -> Login:
        """Raises ImageError."""

    def has(self, repository: str, tag: str) -> bool:
        """Whether the repository holds the tag or digest; a repository that does not exist holds none. Raises ImageError."""

    def prepare(self, repository: str) -> None:
        """Have the repository. Raises ImageError."""


class Oci:
    """Any OCI registry, with the credentials that container tools have for it."""

    def __init__(self, host: str) -> None:
        self._login = Login(host, registry_credentials(host).removeprefix("Basic "), is_local(host))

    def login(self) -> Login:
        return self._login

    def has(self, repository: str, tag: str) -> bool:
        return _held(self._login, repository, tag)

    def prepare(self, repository: str) -> None:
        """It makes repositories by itself."""


class AccountsEcr:
    """The account's registry."""

    def __init__(self, ecr: Ecr) -> None:
        self._ecr = ecr

    def login(self) -> Login:
        try:
            return self._ecr.login()
        except RegistryError as error:
            raise ImageError(str(error)) from None

    def has(self, repository: str, tag: str) -> bool:
        return _held(self.login(), repository, tag)

    def prepare(self, repository: str) -> None:
        try:
            self._ecr.prepare(repository)
        except RegistryError as error:
            raise ImageError(str(error)) from None


def _held(login: Login, repository: str, tag: str) -> bool:
    try:
        return login.registry().has_manifest(repository, tag)
    except RegistryError as error:
        raise ImageError(str(error)) from None


def upload(buildah: Buildah, one: Plan, target: str, opened: Login) -> None:
    """Push one image that was built. Raises ImageError."""
    if not buildah.has(one.ref):
        buildah.load(one.archive)
    print(f"{one.image.name}: pushing {target}", file=sys.stderr, flush=True)
    with login_file(opened) as authfile:
        buildah.push(one.ref, target, authfile, plain_http=opened.plain_http)


def mirror(target: Target, images: Mapping[str, str], prefix: str, *, check: bool) -> tuple[bool, dict[str, str]]:
    """(whether anything was copied, or would be; name -> reference in the target). Raises ImageError."""
    opened = target.login()
    changed, found = False, {}
    for name, text in images.items():
        try:
            image = parse(text)
            if not image.digest:
                raise ImageError(f"{text} has no digest: lock it with playbooks/lock.yml")
            repository = "/".join(part for part in (prefix, name) if part)
            found[name] = f"{opened.host}/{repository}@{image.digest}"
            if target.has(repository, image.digest):
                continue
            changed = True
            if not check:
                target.prepare(repository)
                source = Registry(image.registry, registry_credentials(image.registry))
                where = (opened.registry(), repository, tag_of(image))
                copy(source, image.repository, image.digest, *where, lambda text: say(f"mirroring {text}"))
        except (RegistryError, ReferenceError) as error:
            raise ImageError(f"{name} was not mirrored: {error}") from None
    return changed, found


def tag_of(image: Reference) -> str:
    """A tag of one content: where tags cannot move, one that its publisher has moved would be refused."""
    content = image.digest.removeprefix("sha256:")
    return f"{image.tag[:100]}-{content[:12]}" if image.tag else f"sha256-{content}"


def push(ecr: Target, names: Sequence[str], prefix: str, options: Options, *, check: bool) -> dict[str, Any]:
    """The JSON that the command prints. Raises ImageError."""
    opened = ecr.login()
    targets, missing = {}, []
    for one in plan(names, REPO, options):
        repository = "/".join(part for part in (prefix, one.image.name) if part)
        tag = one.ref.rpartition(":")[2]
        targets[one.image.name] = f"{opened.host}/{repository}:{tag}"
        if not ecr.has(repository, tag):
            missing.append(one)
    if missing and not check:
        progress = Progress(steps(missing, options), say)
        with progress.repeated():
            build(missing, options, progress)
        buildah = open_store(options.cache / "store")
        for one in missing:
            ecr.prepare(targets[one.image.name].removeprefix(f"{opened.host}/").rpartition(":")[0])
            upload(buildah, one, targets[one.image.name], opened)
    return {"changed": bool(missing), "images": targets}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.images.push", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: {', '.join(USUAL)}")
    parser.add_argument("--check", action="store_true", help="build and push nothing, say what would be")
    parser.add_argument("--base", default="auto", help="auto, debootstrap, or an image reference")
    parser.add_argument("--cache", type=Path, default=cache(), help="folder for archives and layers")
    parser.add_argument("--prefix", default="", help="what the repositories' names begin with")
    parser.add_argument("--registry", default="", help="host of another registry than ECR")
    parser.add_argument("--mirror", action="append", default=[], metavar="NAME=REFERENCE@DIGEST")
    parser.add_argument("--nothing-of-ours", action="store_true", help="build none where no NAME is given")
    parser.add_argument("--region", default="", help="of ECR")
    parser.add_argument("--account", default="account", help="whose mark ECR repositories carry that are made here")
    parser.add_argument("--keep-images", type=int, default=0, help="how many each of them keeps; 0 for all")
    parser.add_argument("--profile", default="")
    parser.add_argument("--credentials-file", default="")
    parser.add_argument("--endpoint-url", default="")
    chosen = parser.parse_args()
    options = Options(cache=chosen.cache, base=chosen.base)
    try:
        target = _target(chosen)
        names = chosen.names or ([] if chosen.nothing_of_ours else USUAL)
        wanted = dict(one.partition("=")[::2] for one in chosen.mirror)
        copied, mirrored = mirror(target, wanted, chosen.prefix, check=chosen.check)
        result = push(target, names, chosen.prefix, options, check=chosen.check)
        result = {"changed": bool(copied or result["changed"]), "images": {**mirrored, **result["images"]}}
    except ImageError as failure:
        print(f"images: {failure}.", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


def _target(chosen: argparse.Namespace) -> Target:
    if chosen.registry:
        return Oci(chosen.registry)
    if not chosen.region:
        raise ImageError("say --region for ECR, or --registry for another one")
    how = {name: getattr(chosen, name) for name in ("profile", "credentials_file", "endpoint_url")}
    try:
        return AccountsEcr(Ecr(Connection.open(chosen.region, **how), chosen.account, chosen.keep_images, say))
    except AwsError as error:
        raise ImageError(str(error).rstrip(".")) from None


if __name__ == "__main__":
    sys.exit(main())
