# SPDX-License-Identifier: Apache-2.0
"""ECR's logins lead to a real registry, where one is given: only the API is emulated.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
"""

from __future__ import annotations

from .world import Params, Result, Session, overlay


@overlay("ecr", "GetAuthorizationToken")
def get_authorization_token(session: Session, params: Params, result: Result) -> Result:
    for row in result["authorizationData"] if session.world.config.registry else []:
        row["proxyEndpoint"] = session.world.config.registry
    return result
