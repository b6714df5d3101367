# SPDX-License-Identifier: Apache-2.0
"""The base of all AWS resources: read → plan → diff → apply → wait. A subclass has only names and SDK calls."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...names import TAG_CLUSTER, TAG_COMPONENT
from .arguments import COMMON, checked
from .connection import Connection, is_unclear, patience
from .errors import AwsError, NotFound, NotOurs, Unclear, code_of, sentence
from .plan import Plan, Rules, State, Tags, anew, decide, removal
from .tagging import Tagging, fault, tag_map
from .unknown import Unknown, is_unknown

if TYPE_CHECKING:
    from ..survey.item import Item, Looker

# How long a refusal may last: IAM changes propagate within seconds, a queue's name is free again after a minute.
_PASSING_S = 90
# How often a change whose answer was lost is taken up again, and how long what it made may take to be seen.
_TRIES = 9
_SEEN_S = 20
# Operations with these names change nothing.
_READING = ("describe_", "get_", "list_", "head_", "simulate_")


@dataclass(frozen=True)
class Owner:
    """Owner of a resource: the tags on everything that we create. Only what carries them is deleted."""

    cluster: str
    component: str

    @property
    def tags(self) -> dict[str, str]:
        return {TAG_CLUSTER: self.cluster, TAG_COMPONENT: self.component}

    def owns(self, tags: Mapping[str, str]) -> bool:
        return tags.get(TAG_CLUSTER) == self.cluster


@dataclass(frozen=True)
class Settled:
    """How far a resource has settled. `why`: what AWS says about its health."""

    state: str = "ACTIVE"
    good: frozenset[str] = frozenset({"ACTIVE"})
    bad: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset({"DELETING", "deleting", "deleted"})
    # Creation failed for good: the resource is created again.
    unmade: frozenset[str] = frozenset()
    why: str = ""

    @property
    def is_good(self) -> bool:
        return self.state in self.good

    @property
    def is_bad(self) -> bool:
        return self.state in self.bad

    @property
    def is_unmade(self) -> bool:
        return self.state in self.unmade

    @property
    def is_leaving(self) -> bool:
        return self.state in self.leaving

    def __str__(self) -> str:
        return f"{self.state}: {self.why}" if self.why else self.state


@dataclass
class AwsResource:
    """One AWS resource. `params`: as in `arguments`; values may be Unknown while planning.

    `owner` None: no marks are written or checked. `adopt`: use the existing resource; never change or delete it.
    """

    connection: Connection
    params: dict[str, Any]
    owner: Owner | None = None
    adopt: bool = False
    # Its name in descriptors and records; a class without one is a base class.
    kind: ClassVar[str] = ""
    # Kinds that must exist longer than this one: the order of removal follows from these.
    stands_on: ClassVar[tuple[str, ...]]
    # Whether users lose service while it is missing, and fields whose change replaces its nodes one by one.
    carries_traffic: ClassVar[bool]
    # Data that is lost when the resource is deleted, in words; empty for none.
    holds: ClassVar[str] = ""
    rolling: ClassVar[tuple[str, ...]] = ()
    # False: it belongs to the account, carries no mark, and is in no census.
    in_census: ClassVar[bool] = True
    # How its tags are written; None: it has no tags, or none of ours.
    tagging: ClassVar[Tagging | None]
    # Operation -> words of temporary refusals, in AWS's own words, each with its source.
    passing: ClassVar[Mapping[str, tuple[str, ...]]]
    service: ClassVar[str] = ""
    noun: ClassVar[str] = ""
    not_found: ClassVar[tuple[str, ...]] = ()
    arguments: ClassVar[dict[str, Any]] = {}
    # Parameters that identify it; while one of them is unknown it cannot exist yet.
    key: ClassVar[tuple[str, ...]] = ("name",)
    rules: ClassVar[Rules] = Rules()
    produces: ClassVar[tuple[str, ...]] = ()
    timeout_s: ClassVar[float] = 600
    _current: State | None = field(default=None, repr=False)
    # Whether apply has just seen that nothing is to be changed: then a wait needs no look of its own.
    _unchanged: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        given = self.params
        self.params = checked(self.noun, {**self.arguments, **COMMON}, given)

    # -- what a class says ------------------------------------------------------------------------------------------
    def read(self) -> State | None:
        """The current state; None or NotFound when the resource does not exist."""
        raise NotImplementedError

    def desired(self, current: State | None) -> State:
        """The desired fields, under AWS's names; None means "leave it as it is"."""
        raise NotImplementedError

    def create(self, desired: State) -> None:
        raise NotImplementedError

    def update(self, changed: State, current: State) -> None:
        raise NotImplementedError

    def remove(self, current: State) -> None:
        raise NotImplementedError

    def settled(self, current: State) -> Settled:
        return Settled()

    def leaves_behind(self, current: State) -> bool:
        """Whether a part of it would stay although it is being deleted or gone: `remove` deletes that, too."""
        return False

    def made(self, current: State) -> State:
        """The outputs for others, under the names in `produces`."""
        return {}

    def tags_of(self, current: State) -> dict[str, str]:
        found = current.get("tags", current.get("Tags")) or {}
        return tag_map(found)

    @classmethod
    def census(cls, looker: Looker) -> Iterable[Item]:
        """All resources of this kind that carry the looker's mark. Raises AwsError."""
        raise NotImplementedError

    # -- the interface ----------------------------------------------------------------------------------------------
    @property
    def subject(self) -> str:
        """`EKS add-on demo/vpc-cni`."""
        return f"{self.noun} {'/'.join(str(self.params[key]) for key in self.key)}"

    @property
    def identity(self) -> dict[str, Any]:
        """The parameters that identify the resource, by which it is found again."""
        return {key: self.params[key] for key in self.key}

    @property
    def tags(self) -> dict[str, str]:
        """All tags that are wanted, marks included."""
        return {**(self.params.get("tags") or {}), **(self.owner.tags if self.owner else {})}

    def plan(self) -> Plan:
        """What apply would do now. Raises AwsError."""
        if said := fault(self.tags, self.service):
            raise AwsError(f"{self.subject}: {said}; change `tags`")
        return self._plan_from(self.look())

    def _plan_from(self, current: State | None) -> Plan:
        if self.adopt:
            if current is None:
                raise AwsError(f"{self.subject} is to be adopted, but does not exist; check its name and region")
            return Plan("none", self.subject)
        if current is not None and self.settled(current).is_leaving:
            current = None
        self._refuse_strangers(current)
        if current is not None and self.settled(current).is_unmade:
            return anew(self.subject, current, self.desired(None), str(self.settled(current)), self.rules)
        tags = Tags(self.tags_of(current) if current else {}, self.tags, bool(self.params.get("purge_tags")))
        plan = decide(self.subject, current, self.desired(current), tags, self.rules)
        if plan.refused:
            named = "; ".join(str(change) for change in plan.changes if change.path.split(".")[0] in plan.refused)
            raise AwsError(
                f"{self.subject}: cannot be changed once it exists: {named}; keep the value, or delete it first"
            )
        return plan

    def apply(self) -> Plan:
        """Create or change the resource; returns what was done. It does not wait. Raises AwsError.

        Where the answer to a change was lost, it goes on from what is there then, as a next run would.
        """
        plan = done = self.plan()
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                self._carry_out(plan)
                break
            except Unclear:
                if last:
                    raise
                plan = self._plan_from(self._look_after(done))
        self._unchanged = not done.changes_anything
        if done.changes_anything:
            self._current = None
        return done

    def _carry_out(self, plan: Plan) -> None:
        current = self._current
        if plan.verb == "create":
            if current is not None:
                self.wait_gone()
            self.create(plan.desired)
        elif plan.verb == "replace":
            if current is None:
                raise AssertionError
            self.remove(current)
            self.wait_gone()
            self.create(plan.desired)
        elif plan.verb == "update":
            if current is None:
                raise AssertionError
            if plan.changed:
                current = self._steady(current)
                self.update(plan.changed, current)
            if plan.set_tags or plan.unset_tags:
                self.write_tags(current, plan.set_tags, list(plan.unset_tags))

    def _look_after(self, done: Plan) -> State | None:
        """What is there after an unanswered change. Raises AwsError.

        A new resource is not seen at once, nor by every look: so one look that sees it counts, and nobody looks again.
        """
        self.connection.say(f"{self.subject}: AWS's answer was lost; looking what came of it")
        until = self.connection.now() + (_SEEN_S if done.verb in ("create", "replace") else 0)
        while (found := self.look()) is None and self.connection.now() < until:
            self.connection.sleep(1)
        return found

    def wait(self, timeout_s: float | None = None) -> State:
        """Wait until the resource is settled; returns its state. Raises AwsError with what it waited for and why that failed."""
        limit = timeout_s or self.params.get("wait_timeout") or self.timeout_s
        started, said = self.connection.now(), ""
        seen, self._unchanged = self._current if self._unchanged else None, False
        while True:
            current, seen = seen or self.look(), None
            found = self.settled(current) if current is not None else Settled("not there", frozenset())
            if found.is_good:
                if current is None:
                    raise AssertionError
                return current
            elapsed = self.connection.now() - started
            if found.is_bad:
                raise AwsError(f"{self.subject} is {found}")
            if elapsed > limit:
                raise AwsError(
                    f"{self.subject} not {' or '.join(sorted(found.good)) or 'there'} after {limit:.0f} s: {found}"
                )
            if str(found) != said:
                said = str(found)
                self.connection.say(f"{self.subject} is {said} (waiting up to {limit:.0f} s)")
            self.connection.sleep(patience(elapsed))

    def plan_delete(self) -> Plan:
        """What delete would do now. A resource that is not ours, or adopted, is left alone."""
        current = self.look()
        leaving = current is not None and self.settled(current).is_leaving and not self.leaves_behind(current)
        if current is None or self.adopt or leaving:
            return Plan("none", self.subject)
        tags = self.tags_of(current)
        if self.owner and not self.owner.owns(tags):
            return Plan("none", self.subject, why=f"left alone: it does not carry {TAG_CLUSTER}={self.owner.cluster}")
        return removal(self.subject, current, tags)

    def delete(self, *, wait: bool = True) -> Plan:
        """Delete the resource if it is ours; returns what was done. Raises AwsError."""
        plan = self.plan_delete()
        current = self._current
        if plan.verb == "delete":
            try:
                self._remove()
            except NotFound:
                self._current = None
                return plan
        if wait and not self.adopt and not plan.why and current is not None:
            self.wait_gone()
        self._current = None
        return plan

    def _remove(self) -> None:
        """Remove it; where the answer to that was lost, what is left of it. Raises NotFound or AwsError."""
        for last in [False] * (_TRIES - 1) + [True]:
            if self._current is None:
                raise AssertionError
            try:
                self.remove(self._current)
                return
            except Unclear:
                if last:
                    raise
                if self.plan_delete().verb != "delete":
                    return

    def wait_gone(self, timeout_s: float | None = None) -> None:
        """Wait until it no longer exists. Raises AwsError."""
        limit = timeout_s or self.params.get("wait_timeout") or self.timeout_s
        started, said = self.connection.now(), False
        while (current := self.look()) is not None and self.settled(current).state != "deleted":
            elapsed = self.connection.now() - started
            state = self.settled(current)
            if "FAILED" in state.state.upper():
                raise AwsError(f"{self.subject} could not be deleted: {state}")
            if elapsed > limit:
                raise AwsError(f"{self.subject} still there after {limit:.0f} s: {state}")
            if not said:
                said = True
                self.connection.say(f"{self.subject} is being deleted (waiting up to {limit:.0f} s)")
            self.connection.sleep(patience(elapsed))

    def outputs(self) -> dict[str, Any]:
        """The outputs for others; Unknown until it exists, except the names that are known before."""
        current = self._current if self._current is not None else self.look()
        named = {"name": self.params["name"]} if self.params.get("name") else {}
        known = self.made(current) if current is not None and not self.settled(current).is_leaving else named
        return {name: known.get(name, Unknown(f"{self.subject}.{name}")) for name in self.produces}

    # -- for the classes --------------------------------------------------------------------------------------------
    def look(self) -> State | None:
        """A fresh read; None when the resource does not exist or cannot exist yet."""
        if any(is_unknown(self.params[key]) for key in self.key):
            self._current = None
            return None
        try:
            self._current = self.read()
        except NotFound:
            self._current = None
        return self._current

    def write_tags(self, current: State, to_set: dict[str, str], to_unset: list[str]) -> None:
        """Raises AwsError."""
        if self.tagging is None:
            raise AwsError(f"{self.subject}: tags of a {self.noun} cannot be changed")
        for operation, parameters in self.tagging.calls(current, self.tags_of(current), to_set, to_unset):
            self.call(operation, **parameters)

    def bearer(self) -> State | None:
        """The resource that uses our name now, ours or not; None where names need not be unique. Raises AwsError."""
        return self.look()

    def call(self, operation: str, *, service: str = "", **parameters: Any) -> dict[str, Any]:
        """One API call, retried while a refusal in `passing` lasts. Raises NotFound, Unclear or AwsError."""
        from botocore.exceptions import BotoCoreError, ClientError

        name = service or self.service
        started = self.connection.now()
        try:
            tokens = _tokens(self.connection.client(name), operation)
        except (BotoCoreError, ClientError) as error:
            raise self._failure(name, operation, error) from error
        repeatable = bool(tokens) or operation.startswith(_READING)
        parameters = {**tokens, **parameters}
        while True:
            try:
                method = functools.partial(getattr(self.connection.client(name), operation), **parameters)
                return dict(self.connection.retrying(method, repeatable=repeatable) or {})
            except (BotoCoreError, ClientError) as error:
                elapsed = self.connection.now() - started
                if self._passes(operation, error) and elapsed < _PASSING_S:
                    self.connection.sleep(max(1.0, patience(elapsed)))
                    continue
                failure = self._failure(name, operation, error)
                if not repeatable and is_unclear(error):
                    raise Unclear(str(failure), failure.code) from error
                raise failure from error

    def _passes(self, operation: str, error: Exception) -> bool:
        said = str(error).lower()
        return any(words.lower() in said for words in self.passing.get(operation, ()))

    def listed(self, operation: str, result: str, *, service: str = "", **parameters: Any) -> list[Any]:
        """All items of a listing, over all its pages. Raises NotFound or AwsError."""
        from botocore.exceptions import BotoCoreError, ClientError

        name = service or self.service
        try:
            return list(self.connection.pages(name, operation, **parameters).get(result) or [])
        except (BotoCoreError, ClientError) as error:
            raise self._failure(name, operation, error) from error

    def until(
        self, look: Callable[[], str], what: str, *, good: str, bad: tuple[str, ...] = (), why: Callable[[], str] = str
    ) -> None:
        """Wait for the end of something smaller than a resource, for example an update. Raises AwsError."""
        limit = self.params.get("wait_timeout") or self.timeout_s
        started = self.connection.now()
        while (state := look()) != good:
            elapsed = self.connection.now() - started
            if state in bad:
                raise AwsError(f"{self.subject}: {what} is {state}: {why()}")
            if elapsed > limit:
                raise AwsError(f"{self.subject}: {what} not {good} after {limit:.0f} s: {state}")
            self.connection.sleep(patience(elapsed))

    def _steady(self, current: State) -> State:
        """Wait until a change in progress, for example of an earlier run, has ended."""
        found = self.settled(current)
        return current if found.is_good or found.is_bad else self.wait()

    def _refuse_strangers(self, current: State | None) -> None:
        if current is None or self.owner is None:
            return
        tags = self.tags_of(current)
        if not self.owner.owns(tags):
            whose = f"marked for {tags[TAG_CLUSTER]}" if TAG_CLUSTER in tags else "not marked as ours"
            raise NotOurs(
                f"{self.subject} exists and is {whose} ({TAG_CLUSTER}={self.owner.cluster} is missing); "
                "choose another name, or adopt it"
            )

    def _failure(self, service: str, operation: str, error: Exception) -> AwsError:
        words = "".join(part.capitalize() for part in operation.split("_"))
        model = self.connection.client(service).meta.service_model
        action = f"{model.signing_name}:{words}"
        kind = NotFound if code_of(error) in self.not_found else AwsError
        return kind(
            sentence(self.subject, operation, error, action=action, profile=self.connection.profile), code_of(error)
        )


def _tokens(client: Any, operation: str) -> dict[str, str]:
    """A token for each parameter that makes a call idempotent: the same for all tries, of which one may have worked unseen."""
    names = client.meta.method_to_api_mapping
    if operation not in names:
        return {}
    members = client.meta.service_model.operation_model(names[operation]).idempotent_members
    return {member: str(uuid.uuid4()) for member in members}
