# SPDX-License-Identifier: Apache-2.0
"""What the user can do when signing in fails before AWS is asked: botocore's exceptions, by name.

https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-authentication.html
"""

from __future__ import annotations

_SSO = "sign in: aws sso login{profile}"
_LOGIN = "sign in: aws login{profile}"
_FILE = "mend what it names, in ~/.aws/config, ~/.aws/credentials or the files of AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"

MENDS = {
    "NoCredentialsError": "sign in (aws sso login, aws login), or set platform_aws_profile, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "give both halves of the key: aws_access_key_id and aws_secret_access_key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
    "CredentialRetrievalError": "see that this says more: aws sts get-caller-identity{profile}",
    "ProfileNotFound": "check platform_aws_profile and AWS_PROFILE; aws configure list-profiles shows which there are",
    "ConfigParseError": _FILE,
    "ConfigNotFound": "check AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE",
    "InvalidConfigError": _FILE,
    "InfiniteLoopConfigError": "source_profile leads in a circle: let one of these profiles have credentials of its own",
    # IAM Identity Center
    "SSOError": _SSO,
    "SSOTokenLoadError": _SSO,
    "UnauthorizedSSOTokenError": _SSO,
    "TokenRetrievalError": _SSO,
    "NoAuthTokenError": _SSO,
    "UnknownTokenProviderError": _FILE,
    # aws login
    "LoginError": _LOGIN,
    "LoginRefreshRequired": _LOGIN,
    "LoginTokenLoadError": _LOGIN,
    "LoginAuthorizationCodeError": _LOGIN,
    "LoginInsufficientPermissions": "this user may not sign in by aws login: give it the policy SignInLocalDevelopmentAccess, or use a profile of another kind",
    "MissingDependencyException": "install what it names into the controller's environment: .venv/bin/pip install 'botocore[crt]'",
    # roles and machines
    "RefreshWithMFAUnsupportedError": "take credentials that last as long as the run: aws configure export-credentials{profile} --format env",
    "EOFError": "the profile asks for a code (mfa_serial), which a run cannot: aws configure export-credentials{profile} --format env",
    "MetadataRetrievalError": "give this machine or pod a role, or set platform_aws_profile",
    "InvalidIMDSEndpointError": "check AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "InvalidIMDSEndpointModeError": "check AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: ipv4 or ipv6",
    "UnknownCredentialError": _FILE,
    # network errors
    "NoRegionError": "set the region (platform_aws_region)",
    "UnknownRegionError": "check platform_aws_region",
    "InvalidRegionError": "check platform_aws_region",
    "EndpointConnectionError": "check the region, the network, and HTTPS_PROXY where there is a proxy",
    "ConnectTimeoutError": "check the network, and HTTPS_PROXY where there is a proxy",
    "ProxyConnectionError": "check HTTPS_PROXY and NO_PROXY",
    "InvalidProxiesConfigError": "check HTTPS_PROXY",
    "SSLError": "something between here and AWS has a certificate of its own: set AWS_CA_BUNDLE to the file that it is trusted by",
}


def mend(error: Exception, profile: str = "") -> str:
    """What the user can do, as half a sentence; empty for an error that is not about signing in."""
    for kind in type(error).__mro__:
        if kind.__name__ in MENDS:
            return MENDS[kind.__name__].format(profile=f" --profile {profile}" if profile else "")
    return ""
