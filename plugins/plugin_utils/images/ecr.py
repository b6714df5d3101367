# SPDX-License-Identifier: Apache-2.0
"""The account's own registry: a login for 12 hours, and repositories, which ECR does not make by itself.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ...module_utils.aws.base.connection import Connection
from ...module_utils.aws.base.errors import AwsError, NotOurs
from ...module_utils.aws.base.resource import Owner
from ...module_utils.aws.ecr.repository import EcrRepository
from .registry import Registry, RegistryError


@dataclass(frozen=True)
class Login:
    """A registry and its credentials. `auth`: user and password in the form of Basic authentication; never shown."""

    host: str
    auth: str = field(repr=False)
    plain_http: bool = False

    def registry(self) -> Registry:
        return Registry(self.host, f"Basic {self.auth}" if self.auth else "")


class Ecr:
    """`account`: whose mark repositories carry that are made here; `keep_images`: how many each keeps, 0 for all."""

    def __init__(
        self,
        connection: Connection,
        account: str = "account",
        keep_images: int = 0,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._connection, self._owner, self._keep, self._say = (
            connection,
            Owner(account, "registry"),
            keep_images,
            say,
        )
        self._login: Login | None = None

    def login(self) -> Login:
        """Raises RegistryError."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._login is None:
            try:
                [data] = self._connection.client("ecr").get_authorization_token()["authorizationData"]
            except (ClientError, BotoCoreError, AwsError) as error:
                raise RegistryError(
                    f"ECR: {error}; does the caller have AmazonEC2ContainerRegistryPowerUser?"
                ) from None
            where = urlsplit(data["proxyEndpoint"])
            self._login = Login(where.netloc, data["authorizationToken"], where.scheme == "http")
        return self._login

    def prepare(self, repository: str) -> None:
        """Make the repository as role `registry` makes them: tags that never move, scanned, so many images. One that exists stays as it is.

        Raises RegistryError.
        """
        try:
            wanted = EcrRepository(self._connection, {"name": repository, "keep_images": self._keep}, self._owner)
            if wanted.plan().verb == "create":
                wanted.apply()
                self._say(f"made the repository {repository}")
        except NotOurs:
            return
        except AwsError as error:
            raise RegistryError(str(error).rstrip(".")) from None
