# SPDX-License-Identifier: Apache-2.0
"""Settings: one name three ways, and a README that cannot go stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway import cli
from llm_gateway.config import settings
from llm_gateway.errors import ConfigError

README = Path(__file__).resolve().parent.parent / "README.md"


def load(
    *flags: str, environment: dict[str, str] | None = None, document: dict[str, object] | None = None
) -> settings.Settings:
    return settings.load(cli.parser().parse_args(["serve", *flags]), environment or {}, document)


def test_a_flag_wins_over_the_environment_and_that_over_the_document() -> None:
    document = {"queue_size": 1, "queue-timeout": "2m", "max_body": "8kB"}
    environment = {"LLM_GATEWAY_QUEUE_SIZE": "2", "LLM_GATEWAY_MAX_BODY": "1MiB"}
    chosen = load("--queue-size", "3", environment=environment, document=document)
    assert (chosen.queue_size, chosen.queue_timeout, chosen.max_body) == (3, 120.0, 1 << 20)


def test_engines_may_be_given_more_than_once() -> None:
    assert load("--engine", "http://a:1", "--engine", "http://b:2").engine == ("http://a:1", "http://b:2")


def test_a_typo_names_the_setting_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean queue_size"):
        load(document={"queue_sise": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue_size", -1),
        ("queue_size", "many"),
        ("queue_timeout", "3 days"),
        ("max_body", "-1"),
        ("policy", "best"),
        ("listen", "nowhere"),
        ("workers", 0),
        ("engine", ["ftp://x"]),
        ("models", []),
        ("kubernetes", "maybe"),
    ],
)
def test_a_bad_value_is_refused_with_its_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        load(document={name: value})


def test_the_readme_has_the_table_of_all_settings() -> None:
    table = README.read_text().split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]
    assert table == settings.documentation(), "write the output of `llm-gateway settings` into README.md"


def test_check_says_good_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("queue_size: 5\n")
    assert cli.main(["check", str(config)]) == 0
    config.write_text("queue_size: [\n")
    assert cli.main(["check", str(config)]) == 2
    assert "not YAML" in capsys.readouterr().err


def test_serving_without_engines_or_without_keys_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--anonymous"]) == 2
    assert cli.main(["serve", "--engine", "http://127.0.0.1:1"]) == 2
    assert "--anonymous" in capsys.readouterr().err
