# SPDX-License-Identifier: Apache-2.0
"""Signing in to AWS: each way in which it fails ends in a sentence that says what to do."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError

from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.connection import Connection
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.errors import AwsError
from ansible_collections.llm.on_eks.plugins.module_utils.aws.base.sign_in import MENDS, mend
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.options import aws_from

ABOUT_SIGNING_IN = re.compile(
    r"Credential|SSO|Login|AuthToken|Authorization|Token|Profile|MFA|Metadata|IMDS|Region|^Config|^InvalidConfig|Proxy|Proxies"
)
# Of S3 and of services' settings, though their names sound so.
OTHERS = {
    "InvalidS3UsEast1RegionalEndpointConfigError",
    "InvalidSTSRegionalEndpointsConfigError",
    "ServiceNotInRegionError",
}


def botocores():
    """Each of its exceptions that is about signing in, or the way there."""
    found = [
        kind
        for kind in vars(botocore.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, BotoCoreError)
    ]
    return sorted(
        kind.__name__ for kind in found if ABOUT_SIGNING_IN.search(kind.__name__) and kind.__name__ not in OTHERS
    )


@pytest.mark.parametrize("name", botocores())
def test_every_exception_of_botocore_about_signing_in_has_its_mend(name):
    kind = getattr(botocore.exceptions, name)
    assert mend(kind.__new__(kind), "my")


@pytest.mark.parametrize("name", sorted(set(MENDS) - {"EOFError"}))
def test_the_table_names_no_exception_that_botocore_does_not_have(name):
    assert hasattr(botocore.exceptions, name)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes ~/.aws/config, and nothing else gives credentials."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return (tmp_path / "config").write_text


SSO = """[profile my]
sso_session = work
sso_account_id = 123456789012
sso_role_name = admin
[sso-session work]
sso_region = eu-central-1
sso_start_url = https://work.awsapps.com/start
"""
OLD_SSO = """[profile my]
sso_region = eu-central-1
sso_start_url = https://work.awsapps.com/start
sso_account_id = 123456789012
sso_role_name = admin
"""
LOGIN = "[profile my]\nlogin_session = arn:aws:iam::123456789012:user/me\n"
PROCESS = "[profile my]\ncredential_process = /bin/sh -c 'echo no vault >&2; exit 1'\n"
NO_JSON = "[profile my]\ncredential_process = /bin/echo nonsense\n"
CIRCLE = """[profile my]
role_arn = arn:aws:iam::123456789012:role/a
source_profile = other
[profile other]
role_arn = arn:aws:iam::123456789012:role/b
source_profile = my
"""
NO_SOURCE = "[profile my]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = nobody\n"
HALF = "[profile my]\naws_access_key_id = AKIA\n"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("text", "profile", "said"),
    [
        ("", "", r"Unable to locate credentials; sign in \(aws sso login"),
        ("", "my", r"profile \(my\) could not be found; check platform_aws_profile"),
        (SSO, "my", r"; sign in: aws sso login --profile my$"),
        (OLD_SSO, "my", r"; sign in: aws sso login --profile my$"),
        (LOGIN, "my", r"; (sign in: aws login --profile my$|install what it names)"),
        (PROCESS, "my", r"no vault.*; see that this says more: aws sts get-caller-identity --profile my"),
        (CIRCLE, "my", r"source_profile leads in a circle"),
        (NO_SOURCE, "my", r"nobody.*; mend what it names"),
        (HALF, "my", r"Partial credentials.*; give both halves of the key"),
        ("nonsense", "my", r"; mend what it names, in ~/.aws/config"),
    ],
)
def test_credentials_that_do_not_work_are_said_with_the_way_out(config, text, profile, said):
    config(text)
    with pytest.raises(AwsError, match=said) as raised:
        __ = Connection.open("eu-central-1", profile=profile).identity
    assert str(raised.value).startswith("AWS: sign in failed: ")


def test_the_profile_of_the_environment_is_named_too(config, monkeypatch):
    config(SSO)
    monkeypatch.setenv("AWS_PROFILE", "my")
    with pytest.raises(AwsError, match="aws sso login --profile my"):
        __ = Connection.open("eu-central-1").identity


def test_an_expired_session_names_the_command(config, tmp_path):
    config(SSO)
    folder = tmp_path / ".aws" / "sso" / "cache"
    folder.mkdir(parents=True)
    token = {"accessToken": "x", "expiresAt": "2020-01-01T00:00:00Z", "startUrl": "https://work.awsapps.com/start"}
    (folder / f"{hashlib.sha1(b'work').hexdigest()}.json").write_text(json.dumps(token))
    with pytest.raises(AwsError, match=r"; sign in: aws sso login --profile my$"):
        __ = Connection.open("eu-central-1", profile="my").identity


@pytest.mark.programs
def test_a_profile_that_asks_for_a_code_is_said(config):
    """In a process without a terminal, as a run's are."""
    config(
        "[profile my]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = base\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    script = f"""
import sys
sys.path[:0] = {[path for path in sys.path if path]!r}
from {Connection.__module__} import Connection
try:
    Connection.open("eu-central-1", profile="my").identity
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("AwsError AWS: sign in failed: "), done.stderr
    assert "export-credentials --profile my" in done.stdout


def test_without_credentials_no_resource_is_named(config):
    config("")
    with pytest.raises(AwsError, match=r"^AWS: sign in failed: Unable to locate credentials"):
        aws_from({"aws": {"region": "eu-central-1"}, "cluster": "account"})
