# SPDX-License-Identifier: Apache-2.0
"""The component descriptor: what a role publishes and converge applies. Plain data, validated before anything is changed.

docs/converge.md's schema is generated from these classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from ...module_utils.aws.base import tagging
from ...module_utils.aws.catalog import RESOURCES
from ...module_utils.errors import LlmOnEksError
from ..objects.identity import CLUSTER_WIDE, Identity, identity, namespace_identity
from ..objects.well_formed import fault

Document = dict[str, Any]
# Fit for a label, for names of records, and for `${out:COMPONENT.OUTPUT}`.
_NAME = r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?"


class DescriptorError(LlmOnEksError):
    """A descriptor is not of the documented form."""


class Namespace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The component's namespace, made when it is missing. `pod_security`: level of Kubernetes' pod security standards."""

    name: str
    pod_security: Literal["privileged", "baseline", "restricted"] = "baseline"
    labels: dict[str, str] = {}


class Chart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a chart comes from: a repository with a name, an OCI reference, an archive or a folder. `digest`: sha256 of the archive.

    `manifests`: the address of a YAML file with plain objects, which is used in place of a chart, as it is.
    """

    repository: str = ""
    name: str = ""
    version: str = ""
    oci: str = ""
    archive: str = ""
    path: str = ""
    manifests: str = ""
    digest: str = ""


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chart with values. `timeout` in seconds, of each wait. `ignore`: `KIND/NAME PATH` of fields that keep their live value.

    `adopt`: take over the release of this name that plain Helm installed.
    """

    name: str
    chart: Chart
    namespace: str = ""
    values: dict[str, Any] = {}
    timeout: int = 600
    adopt: bool = False
    ignore: list[str] = []


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Job that runs to completion. `stdin_files`: files on the controller that are streamed into its pod, one after the other.

    `timeout` in seconds. `about`: what it does, noted where it runs, and in a plan where it would.
    """

    manifest: Document
    stdin_files: list[str] = []
    timeout: int = 600
    about: str = ""


class Generate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A random value of so many bytes, as text that is safe in a URL, behind `prefix`."""

    bytes: int = 32
    prefix: str = ""


class Derive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value computed from another Secret's: `format` may hold {sha256} (hex) and {value}."""

    secret: str
    key: str
    namespace: str = ""
    format: str = "{value}"


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Secret that must exist (`from: existing`), is made once (`generate`) or follows from another (`derive`)."""

    name: str
    namespace: str = ""
    generate: dict[str, int | Generate] = {}
    derive: dict[str, Derive] = {}
    from_: Literal["", "existing"] = msgspec.field(name="from", default="")


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object and the condition that must become true within `timeout` seconds.

    `Available`: a workload is rolled out completely. `Renewed`: so is a Deployment, and no pod is left, not even an ending one, that was made with
    other labels. Every other condition is one of the object's own, or its phase.
    """

    kind: str
    name: str
    namespace: str = ""
    apiVersion: str = ""
    condition: str = "Available"
    timeout: int = 300


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address that must answer with `status` within `timeout` seconds."""

    http: str
    status: int = 200
    timeout: int = 60


# The namespace of a reference to objects of one name, in `leaves`.
EVERY_NAMESPACE = "*"


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One object by kind and name. In `leaves`, namespace `*` is all namespaces."""

    kind: str
    name: str
    namespace: str = ""


class AwsEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An AWS resource: its type (see docs/aws.md), its name within the component, and its properties.

    Its outputs are referred to as `${out:COMPONENT.NAME_OUTPUT}`. `adopt`: use the resource as it is; never change or
    delete it. `retain`: keep it when the component is removed. `after`: other resources that must come first, as `NAME`
    or `COMPONENT.NAME`, where no reference says so. `wait: false`: do not wait until it is ready.
    """

    type: str
    name: str
    properties: dict[str, Any] = {}
    adopt: bool = False
    retain: bool = False
    after: list[str] = []
    wait: bool = True


class Kubernetes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The EKS cluster that this component makes, and whose API every Kubernetes part of the run is written to."""

    name: str
    endpoint: str
    certificate_authority: str


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value that other components refer to as `${out:COMPONENT.OUTPUT}`: the field at `path` of an object, once it has a value."""

    kind: str
    name: str
    path: str
    namespace: str = ""
    apiVersion: str = ""
    timeout: int = 300


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A page for people, behind a port of a Service that is reached by a port forward. `sign_in`: a command that prints what is asked for.

    `url`: where it is reached without a port forward.
    """

    title: str
    service: str
    namespace: str
    port: int
    sign_in: str = ""
    url: str = ""


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Components that stand for the entries of a list. An installed one with such a prefix that is not named is removed."""

    prefixes: list[str]
    names: list[str] = []


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One unit of the platform. `after` only orders; `requires` must be in the run or installed. `outlives` names components that are done
    before this one is removed.

    `adopt` lets the component take over objects that it did not make. `recreate` names objects that may be deleted and
    created again when the API allows a change in no other way. `retain` names objects that are never deleted.
    `lose_data` names objects that may be deleted although their data is lost: claims, CRDs with objects, and AWS
    resources by type and name. `leaves` names objects that the component's own programs make and leave behind: they are
    deleted after it.
    """

    name: str
    state: Literal["present", "absent", "skip"] = "present"
    after: list[str] = []
    requires: list[str] = []
    outlives: list[str] = []
    aws: list[AwsEntry] = []
    kubernetes: Kubernetes | None = None
    namespace: Namespace | None = None
    crds: list[Document] = []
    releases: list[Release] = []
    manifests: list[Document] = []
    jobs: list[Job] = []
    secrets: list[Secret] = []
    wait: list[Wait] = []
    checks: list[Check] = []
    retain: list[Reference] = []
    recreate: list[Reference] = []
    lose_data: list[Reference] = []
    leaves: list[Reference] = []
    adopt: bool = False
    outputs: dict[str, Output] = {}
    images: list[str] = []
    parts: Parts | None = None
    pages: list[Page] = []


def lines_of(pages: Sequence[Page]) -> list[str]:
    """How the pages are opened, for people. Ports below 1024 are not a user's to open."""
    return [line for page in pages for line in _lines(page)]


def _lines(page: Page) -> list[str]:
    port = page.port if page.port >= 1024 else 8000 + page.port
    forward = f"kubectl -n {page.namespace} port-forward svc/{page.service} {port}:{page.port}"
    where = page.url or f"http://127.0.0.1:{port} after {forward}"
    return [f"{page.title}: {where}", *([f"  sign in with: {page.sign_in}"] if page.sign_in else [])]


def parse(descriptors: Sequence[Any]) -> list[Component]:
    """Descriptors as components. Raises DescriptorError, naming component and path."""
    components = [_parse_one(descriptor) for descriptor in descriptors]
    # Names of records treat `-` and `_` alike.
    names = [component.name.replace("_", "-") for component in components]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DescriptorError(
            f"component {min(twice)} is described twice in one run; give each component a name of its own"
        )
    for component in components:
        for document in documents_of(component):
            _check_document(component, document)
        _check_kinds(component)
        _check_aws(component)
    _refuse_second_clusters(components)
    _refuse_shared_objects(components)
    _refuse_quarrels_over_namespaces(components)
    return components


def documents_of(component: Component) -> list[Document]:
    """Every object that the descriptor itself spells out."""
    return [*component.crds, *component.manifests, *(job.manifest for job in component.jobs)]


def is_in_kubernetes(component: Component) -> bool:
    """Whether a component has anything besides AWS resources."""
    parts = (component.namespace, component.crds, component.releases, component.manifests, component.jobs)
    more = (component.secrets, component.wait, component.checks, component.outputs)
    return any(parts) or any(more)


def home_of(component: Component) -> str:
    """The namespace that a component describes as its own; empty for none."""
    return component.namespace.name if component.namespace else ""


def homes_of(components: Iterable[Component]) -> Iterator[Identity]:
    """The namespaces that components, in whatever state, describe as their own."""
    return (namespace_identity(component.namespace.name) for component in components if component.namespace)


def claims_of(component: Component) -> Iterator[Identity]:
    """Every object that a component with state `present` spells out.

    An object without a namespace is listed twice: as cluster-scoped, and in the component's namespace.
    """
    if component.state != "present":
        return
    home = home_of(component)
    for document in documents_of(component):
        key = identity(document)
        yield key
        yield key._replace(namespace=key.namespace or home)
    for secret in component.secrets:
        yield Identity("", "Secret", secret.namespace or home, secret.name)


def _parse_one(descriptor: Any) -> Component:
    name = descriptor.get("name", "without a name") if isinstance(descriptor, dict) else "without a name"
    try:
        component = msgspec.convert(descriptor, Component)
    except (msgspec.ValidationError, TypeError) as error:
        raise DescriptorError(f"component {name}: {error}; see docs/converge.md for the descriptor's form") from None
    if not re.fullmatch(_NAME, component.name):
        raise DescriptorError(
            f"component {component.name!r}: a name has small letters, digits, dashes, dots and underscores, 63 at most"
        )
    return component


def _check_document(component: Component, document: Any) -> None:
    said = fault(document, home_of(component))
    if said:
        raise DescriptorError(f"component {component.name}: {said}")


def _check_kinds(component: Component) -> None:
    for document in component.crds:
        if document["kind"] != "CustomResourceDefinition":
            raise DescriptorError(
                f"component {component.name}: {document['kind']} {document['metadata']['name']} is listed in `crds`, which takes CustomResourceDefinitions; "
                "move it to `manifests`"
            )
    for job in component.jobs:
        document = job.manifest
        if (document["apiVersion"], document["kind"]) != ("batch/v1", "Job"):
            raise DescriptorError(
                f"component {component.name}: {document['kind']} {document['metadata']['name']} is listed in `jobs`, which takes "
                "Jobs of batch/v1; move it to `manifests`"
            )


def _check_aws(component: Component) -> None:
    outputs = set(component.outputs)
    names = set()
    for entry in component.aws:
        if entry.type not in RESOURCES:
            raise DescriptorError(
                f"component {component.name}: {entry.name} has the type {entry.type!r}; known are {', '.join(RESOURCES)}"
            )
        made = {f"{entry.name}_{output}" for output in RESOURCES[entry.type].produces}
        if entry.name in names or made & outputs:
            raise DescriptorError(
                f"component {component.name}: two resources or outputs are called {entry.name}; give each a name of its own"
            )
        names.add(entry.name)
        outputs |= made
        tags = entry.properties.get("tags")
        if said := tagging.fault(tags, RESOURCES[entry.type].service) if isinstance(tags, dict) else "":
            raise DescriptorError(f"component {component.name}: {entry.type} {entry.name}: {said}; change `tags`")


def _refuse_second_clusters(components: Sequence[Component]) -> None:
    found = [component.name for component in components if component.kubernetes]
    if len(found) > 1:
        raise DescriptorError(f"components {found[0]} and {found[1]} both name a Kubernetes API; a run writes to one")


def _refuse_shared_objects(components: Sequence[Component]) -> None:
    """Each object belongs to one component: two descriptions of it would undo each other in every run."""
    owner: dict[Identity, str] = {}
    for component in components:
        if component.state != "present":
            continue
        for key in _described(component):
            other = owner.setdefault(key, component.name)
            if other != component.name:
                raise DescriptorError(
                    f"components {other} and {component.name} both describe {key}; one of them must drop it"
                )


def _described(component: Component) -> list[Identity]:
    """Every object that a component writes. Raises DescriptorError for one that it describes twice."""
    home = home_of(component)
    found: list[Identity] = []
    for document in documents_of(component):
        key = identity(document)
        if document["kind"] in CLUSTER_WIDE:
            key = key._replace(namespace="")
        found.append(key if key.namespace or document["kind"] in CLUSTER_WIDE else key._replace(namespace=home))
    for secret in component.secrets:
        if not secret.from_:
            found.append(Identity("", "Secret", secret.namespace or home, secret.name))
    twice = next((key for key in found if found.count(key) > 1), None)
    if twice:
        raise DescriptorError(f"component {component.name} describes {twice} twice; keep one of the two texts")
    return found


def _quarrel(one: Namespace, other: Namespace) -> bool:
    """Whether a namespace cannot be as both say. Each may add labels of its own."""
    shared = one.labels.keys() & other.labels.keys()
    return one.pod_security != other.pod_security or any(one.labels[key] != other.labels[key] for key in shared)


def _refuse_quarrels_over_namespaces(components: Sequence[Component]) -> None:
    seen: dict[str, tuple[str, Namespace]] = {}
    for component in components:
        if component.namespace is None or component.state != "present":
            continue
        other, namespace = seen.setdefault(component.namespace.name, (component.name, component.namespace))
        if _quarrel(namespace, component.namespace):
            raise DescriptorError(
                f"components {other} and {component.name} want namespace {namespace.name} with different labels or pod "
                "security; make them agree"
            )


def json_schema() -> Document:
    """JSON Schema of a component descriptor."""
    return msgspec.json.schema(Component)
