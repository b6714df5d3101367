# SPDX-License-Identifier: Apache-2.0
"""The `models` section of the config document: aliases, canaries, fallbacks, and settings of single models."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from llm_gateway.config.key_documents import KeyLimits
from llm_gateway.errors import ConfigError

# The routing policies by name; `engines/routing.py` has them.
POLICIES = ("least-in-flight", "power-of-two", "round-robin", "prefix", "session", "queue-aware")


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One name that clients may ask for; with `*` in it, all names like it that nobody else has. What is None is as the settings say.

    `alias` is the model that is meant; `split` shares requests out over models by weight (canary), of which one may have this very name;
    `fallbacks` are asked in this order when the model's own engines cannot take a request. The other fields belong to a model that engines
    serve.
    """

    alias: str | None = None
    split: dict[str, float] = {}
    fallbacks: list[str] = []
    policy: str | None = None
    engine_concurrency: int | None = None
    queue_size: int | None = None
    queue_timeout: float | None = None
    hold_timeout: float | None = None
    limits: KeyLimits = KeyLimits()


class Catalogue:
    """All configured names. Raises ConfigError for what cannot be meant."""

    def __init__(self, section: Mapping[str, Any]) -> None:
        self.models: dict[str, ModelConfig] = {}
        for name, entry in section.items():
            try:
                self.models[name] = msgspec.convert(entry if entry is not None else {}, ModelConfig)
            except msgspec.ValidationError as error:
                raise ConfigError(f"models: {name}: {error}") from error
        for name, config in self.models.items():
            self._check(name, config)
        # The pattern with the most letters of its own goes first; `*` alone, which is like every name, last.
        patterns = sorted(
            (name for name in self.models if "*" in name), key=lambda name: (name.count("*") - len(name), name)
        )
        self._patterns = [(_like(name), self.models[name]) for name in patterns]

    def _check(self, name: str, config: ModelConfig) -> None:
        where = f"models: {name}"
        if config.alias is not None and config.split:
            raise ConfigError(f"{where}: say alias or split, not both")
        if config.split and (min(config.split.values()) < 0 or sum(config.split.values()) <= 0):
            raise ConfigError(f"{where}: split: weights are at least 0, and not all 0")
        if config.policy is not None and config.policy not in POLICIES:
            raise ConfigError(f"{where}: policy: expected one of {', '.join(POLICIES)} (got {config.policy!r})")
        for number in (config.engine_concurrency, config.queue_size, config.queue_timeout, config.hold_timeout):
            if number is not None and number < 0:
                raise ConfigError(f"{where}: numbers are at least 0")
        named = [*self._targets(config), *config.fallbacks]
        if "*" in name and not self._targets(config):
            raise ConfigError(f"{where}: a name with * is another name for models; say alias or split")
        if any("*" in target for target in named):
            raise ConfigError(f"{where}: * stands in the name that is asked for, not in those of models")
        seen = {name}
        # A split may have a share for the model of its own name.
        pending = [target for target in self._targets(config) if target != name or config.alias is not None]
        while pending:
            target = pending.pop()
            if target == name:
                raise ConfigError(f"{where}: leads back to itself")
            if target not in seen:
                seen.add(target)
                pending += self._targets(self.config(target))
        if name in config.fallbacks:
            raise ConfigError(f"{where}: falls back to itself")

    @staticmethod
    def _targets(config: ModelConfig) -> list[str]:
        return [config.alias] if config.alias is not None else list(config.split)

    def config(self, name: str) -> ModelConfig:
        """What is configured for this name; the defaults if nothing is."""
        return self.models.get(name) or _DEFAULTS

    def real(self, name: str) -> bool:
        """Whether the name is a model that engines serve, rather than another name for one."""
        config = self.models.get(name)
        return config is None or name in config.split or not (config.alias is not None or config.split)

    def like(self, name: str) -> ModelConfig | None:
        """What is said of all names like this one, which itself is not configured; None: nothing."""
        if name not in self.models:
            for like, config in self._patterns:
                if like.fullmatch(name) is not None:
                    return config
        return None

    def resolve(self, name: str, chance: random.Random, takes: Callable[[str], bool] = lambda _model: True) -> str:
        """The model that is meant by a name, this time. The name is not one that engines serve, or has a split.

        `takes`: whether a model can take a request now. Of a split, the others share the part of one that cannot; without a weight only where
        nobody else can.
        """
        config = self.models.get(name) or self.like(name)
        while True:
            if config is None:
                return name
            if config.alias is not None:
                name = config.alias
            elif config.split:
                able = {model: weight for model, weight in config.split.items() if takes(model)} or config.split
                weights = list(able.values())
                chosen = chance.choices(list(able), weights if any(weights) else None)[0]
                if chosen == name:
                    return name
                name = chosen
            else:
                return name
            config = self.models.get(name)


def _like(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


_DEFAULTS = ModelConfig()
