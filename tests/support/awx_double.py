# SPDX-License-Identifier: Apache-2.0
"""A stand-in for AWX 24's API (`/api/v2`), for tests. It is no AWX: it stores objects and runs nothing.

What it keeps of the real one was asked of AWX 24.6.1 itself, its API started from source on PostgreSQL (docs/awx.md):
- fields, defaults, required fields, lengths and choices of each kind: awx_options.json, what OPTIONS `/api/v2/KIND/` answers;
- pages of 25 with `count`, `next`, `results` and filters by field, `or__field`; a field that does not exist is refused;
- 400, 401, 403 and 404 with the bodies that AWX gives; who may read nothing gets empty lists;
- surveys, and answers at a launch;
- playbooks that a project offers: awx/main/utils/ansible.py (a file with plays, outside of roles, tasks and dot folders).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

REPO = Path(__file__).resolve().parents[2]
PAGE = 25
ADMIN, READER = "token-of-an-administrator", "token-of-a-reader"
# kind → field → type, default, required, max_length, choices.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = json.loads((Path(__file__).parent / "awx_options.json").read_text())
KINDS = [*OPTIONS, "workflow_approval_templates"]
NOTIFICATION_FIELDS = {"webhook": ["url", "headers"], "slack": ["token", "channels"], "mattermost": ["mattermost_url"]}
# What can be associated with an object of each kind, as far as it is used here.
_RESULTS = ("notification_templates_started", "notification_templates_success", "notification_templates_error")
_JOB = ("credentials", "labels", "instance_groups")
LISTS = {
    "organizations": (*_RESULTS, "instance_groups", "galaxy_credentials", "notification_templates_approvals"),
    "projects": _RESULTS,
    "inventories": ("instance_groups", "input_inventories"),
    "inventory_sources": _RESULTS,
    "job_templates": (*_RESULTS, *_JOB),
    "workflow_job_templates": (*_RESULTS, "labels", "notification_templates_approvals"),
    "workflow_job_template_nodes": (*_JOB, "success_nodes", "failure_nodes", "always_nodes"),
    "schedules": _JOB,
    "roles": ("teams", "users"),
}
# Fields of notifications that are never shown.
SECRETS = ("token", "password", "grafana_key", "account_token", "aws_secret_access_key", "aws_session_token")
# What AWX says of a job template without one of these.
JOB_TEMPLATE_NEEDS = {
    "project": "Job Templates must have a project assigned.",
    "inventory": "You must either set a default value or ask to prompt on launch.",
    "playbook": "Must select playbook for project.",
}
# kind → what must be unique, as AWX words it; the others: Name and Organization.
UNIQUE = {
    "organizations": "Name",
    "teams": "Organization and Name",
    "credential_types": "Name and Kind",
    "job_templates": "(organization, name) combination",
    "workflow_job_templates": "(organization, name) combination",
}
FOREIGN = {
    "organization": "organizations",
    "inventory": "inventories",
    "project": "projects",
    "source_project": "projects",
    "execution_environment": "execution_environments",
    "workflow_job_template": "workflow_job_templates",
    "credential_type": "credential_types",
}
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
# What goes with an object that is removed: kind → (kind, its field).
CASCADE = {
    "organizations": [("projects", "organization"), ("inventories", "organization"), ("teams", "organization")],
    "inventories": [("inventory_sources", "inventory")],
    "job_templates": [("schedules", "unified_job_template")],
    "workflow_job_templates": [("workflow_job_template_nodes", "workflow_job_template")],
}
ROLES = ["admin_role", "read_role", "execute_role", "approval_role", "use_role"]
QUESTION_TYPES = ["text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float"]


class Refused(Exception):
    """An answer of 4xx: status and body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class Awx:
    """The state, and what each request does to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[int, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.launched: list[dict[str, Any]] = []
        self.last = 0

    # -- reading ----------------------------------------------------------------------------------------------------
    def shown(self, kind: str, row: dict[str, Any]) -> dict[str, Any]:
        url = f"/api/v2/{kind}/{row['id']}/"
        related = {"survey_spec": f"{url}survey_spec/", "update": f"{url}update/"}
        if kind == "workflow_job_template_nodes" and row.get("unified_job_template"):
            related["unified_job_template"] = self.url_of(row["unified_job_template"])
        roles = {name: {"id": row["id"] * 100 + number, "name": name} for number, name in enumerate(ROLES)}
        summary: dict[str, Any] = {"object_roles": roles}
        if kind == "organizations":
            summary["related_field_counts"] = self.counts(row["id"])
        if kind == "notification_templates":
            given = row["notification_configuration"] or {}
            shown = {key: "$encrypted$" if key in SECRETS and value else value for key, value in given.items()}
            row = {**row, "notification_configuration": shown}
        if kind == "inventories":
            row = {"pending_deletion": False, **row}
        singular = {"inventories": "inventory"}.get(kind, kind.removesuffix("s"))
        return {**row, "url": url, "type": singular, "related": related, "summary_fields": summary}

    def counts(self, organization: int) -> dict[str, int]:
        kinds = ("projects", "inventories", "job_templates", "teams")
        counts = {
            kind: len([1 for row in self.rows[kind].values() if row.get("organization") == organization])
            for kind in kinds
        }
        return {**counts, "users": 0, "admins": 0, "hosts": 0}

    def url_of(self, identity: int) -> str:
        return next(f"/api/v2/{kind}/{identity}/" for kind in UNIFIED if identity in self.rows[kind])

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        return [self.shown(one, row) for one in kinds for row in self.rows[one].values()]

    def listing(self, kind: str, query: dict[str, str], path: str) -> dict[str, Any]:
        found = [row for row in self.all_of(kind) if self.fits(row, query)]
        return page(found, query, path)

    def fits(self, row: dict[str, Any], query: dict[str, str]) -> bool:
        wanted = {key: value for key, value in query.items() if key not in ("page", "page_size", "order_by")}
        either = {key[4:]: wanted.pop(key) for key in list(wanted) if key.startswith("or__")}
        if either and not any(str(row.get(key)) == value for key, value in either.items()):
            return False
        for key, value in wanted.items():
            if key not in row and key != "type":
                raise Refused(400, {"detail": f"{row['type'].capitalize()} has no field named '{key}'"})
            if str(row.get(key)) != value:
                return False
        return True

    # -- writing ----------------------------------------------------------------------------------------------------
    def check(self, kind: str, data: dict[str, Any], whole: dict[str, Any]) -> None:
        wrong = {
            name: [error] for name, rule in OPTIONS[kind].items() if (error := field_error(name, rule, data, whole))
        }
        for field, target in FOREIGN.items():
            if not isinstance(data.get(field), int | None):
                raise Refused(400, {"detail": f"Bad data found in related field {field}."})
            if data.get(field) is not None and data[field] not in self.rows[target]:
                wrong[field] = [f'Invalid pk "{data[field]}" - object does not exist.']
        if not wrong:
            wrong = KIND_ERRORS.get(kind, lambda __: {})(whole)
        if wrong:
            raise Refused(400, wrong)

    def create(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        if kind != "workflow_approval_templates":
            self.check(kind, data, data)
        if kind == "job_templates":
            # A job template has the organization of its project.
            data = {**data, "organization": self.rows["projects"][data["project"]]["organization"]}
        same = [r for r in self.rows[kind].values() if "name" in data and r["name"] == data["name"]]
        if [row for row in same if row.get("organization") == data.get("organization")]:
            text = f"{noun(kind)} with this {UNIQUE.get(kind, 'Name and Organization')} already exists."
            raise Refused(400, {"name" if kind == "organizations" else "__all__": [text]})
        self.last += 1
        defaults = {name: rule.get("default") for name, rule in OPTIONS.get(kind, {}).items()}
        row = {"description": "", "organization": None, "scm_revision": "abc", **defaults, **data, "id": self.last}
        self.rows[kind][self.last] = row
        return self.shown(kind, row)

    def change(self, kind: str, identity: int, data: dict[str, Any]) -> dict[str, Any]:
        row = self.row(kind, identity)
        self.check(kind, data, {**row, **data})
        row |= data
        return self.shown(kind, row)

    def remove(self, kind: str, identity: int) -> None:
        row = self.row(kind, identity)
        if row.get("pending_deletion"):
            raise Refused(400, {"error": "Inventory is already pending deletion."})
        del self.rows[kind][identity]
        self.surveys.pop(identity, None)
        if kind == "workflow_job_template_nodes":
            # An approval belongs to its node.
            self.rows["workflow_approval_templates"].pop(row.get("unified_job_template"), None)
        for other, field in CASCADE.get(kind, []):
            for one in [key for key, row in self.rows[other].items() if row.get(field) == identity]:
                self.remove(other, one)

    def row(self, kind: str, identity: int) -> dict[str, Any]:
        if kind not in self.rows or identity not in self.rows[kind]:
            raise Refused(404, {"detail": f"No {noun(kind).replace(' ', '')} matches the given query."})
        return self.rows[kind][identity]

    def survey(self, identity: int, spec: dict[str, Any]) -> None:
        error = survey_error(spec)
        if error:
            raise Refused(400, {"error": error})
        self.surveys[identity] = spec

    def launch(self, identity: int, given: dict[str, Any]) -> dict[str, Any]:
        """Answers are checked against the survey. What no question asks for is ignored, unless the template asks for variables."""
        template = next(self.rows[kind][identity] for kind in UNIFIED if identity in self.rows[kind])
        errors, accepted = [], {}
        for one in self.surveys.get(identity, {}).get("spec", []) if template.get("survey_enabled") else []:
            error = answer_error(one, given)
            errors += [error] if error else []
            accepted |= {one["variable"]: given[one["variable"]]} if one["variable"] in given and not error else {}
        if errors:
            raise Refused(400, {"variables_needed_to_start": errors})
        ignored = {key: value for key, value in given.items() if key not in accepted}
        if ignored and identity in self.rows["workflow_job_templates"]:
            # A job template ignores them.
            text = (
                f"Variables {', '.join(ignored)} are not allowed on launch. Check the Prompt on Launch setting on the "
            )
            raise Refused(400, {"extra_vars": [f"{text}Workflow Job Template to include Extra Variables."]})
        job = {
            "id": self.last + 1,
            "job_template": identity,
            "extra_vars": accepted,
            "ignored_fields": {"extra_vars": ignored},
        }
        self.launched.append(job)
        return job


def noun(kind: str) -> str:
    """As AWX words it: Organization, JobTemplate, Credential type."""
    if kind == "credential_types":
        return "Credential type"
    singular = {"inventories": "inventory"}.get(kind, kind.removesuffix("s"))
    return "".join(part.capitalize() for part in singular.split("_"))


def field_error(name: str, rule: dict[str, Any], data: dict[str, Any], whole: dict[str, Any]) -> str:
    """What AWX says of one field; empty where it is taken."""
    if rule.get("required") and whole.get(name) is None:
        return "This field is required."
    if data.get(name) is None:
        return ""
    value, kind = data[name], rule["type"]
    if kind == "choice" and value not in rule["choices"] and name != "kind":
        return f'"{value}" is not a valid choice.'
    if kind == "boolean" and value not in (True, False, "true", "false", 0, 1):
        return "Must be a valid boolean."
    if kind in ("integer", "id") and not str(value).lstrip("-").isdigit():
        return (
            "A valid integer is required." if kind == "integer" else "Incorrect type. Expected pk value, received str."
        )
    if kind == "string" and not isinstance(value, str | int):
        return "Not a valid string."
    if kind == "string" and rule.get("required") and not value:
        return "This field may not be blank."
    size = rule.get("max_length", 10**9)
    return (
        f"Ensure this field has no more than {size} characters." if kind == "string" and len(str(value)) > size else ""
    )


def job_template_errors(row: dict[str, Any]) -> dict[str, list[str]]:
    missing = {field: [text] for field, text in JOB_TEMPLATE_NEEDS.items() if not row.get(field)}
    if missing or row["playbook"] in playbooks():
        return missing
    return {"playbook": ["Playbook not found for project."]}


def schedule_errors(row: dict[str, Any]) -> dict[str, list[str]]:
    rule = str(row["rrule"])
    errors = []
    if not re.match(r"DTSTART:\d{8}T\d{6}Z", rule):
        errors.append("Valid DTSTART required in rrule. Value should start with: DTSTART:YYYYMMDDTHHMMSSZ")
    parts = rule.partition("RRULE:")[2]
    if not parts:
        errors.append("One or more rule required in rrule.")
        errors.append("rrule parsing failed validation: A valid TZID must be provided (e.g., America/New_York)")
    elif "INTERVAL" not in parts:
        errors.append(f"INTERVAL required in rrule: RULE:{parts}")
    elif "SECONDLY" in parts:
        errors.append(f"SECONDLY is not supported: RULE:{parts}")
    return {"rrule": errors} if errors else {}


def credential_type_errors(row: dict[str, Any]) -> dict[str, list[str]]:
    if row["kind"] not in ("cloud", "net"):
        return {"kind": [f"Must be 'cloud' or 'net', not {row['kind']}"]}
    names = [name for name in (row.get("injectors") or {}).get("env", {}) if name.startswith("ANSIBLE_")]
    text = "Environment variable {} may affect Ansible configuration so its use is not allowed in credentials."
    return {"injectors": [text.format(name) for name in names]} if names else {}


def notification_errors(row: dict[str, Any]) -> dict[str, list[str]]:
    needed = NOTIFICATION_FIELDS.get(row["notification_type"], [])
    missing = [name for name in needed if name not in (row.get("notification_configuration") or {})]
    return {"__all__": [f"Missing required fields for Notification Configuration: {missing}."]} if missing else {}


KIND_ERRORS: dict[str, Callable[[dict[str, Any]], dict[str, list[str]]]] = {
    "job_templates": job_template_errors,
    "schedules": schedule_errors,
    "credential_types": credential_type_errors,
    "notification_templates": notification_errors,
}


def survey_error(spec: dict[str, Any]) -> str:
    """What AWX says of a survey; empty where it is taken."""
    if "spec" not in spec:
        return "Field 'spec' is missing from survey spec."
    if not spec["spec"]:
        return "'spec' doesn't contain any items."
    seen: set[str] = set()
    for number, one in enumerate(spec["spec"]):
        error = question_error(number, one, seen)
        if error:
            return error
        seen.add(one["variable"])
    return ""


def question_error(number: int, one: dict[str, Any], seen: set[str]) -> str:
    for key in ("type", "question_name", "variable", "required"):
        if key not in one:
            return f"'{key}' missing from survey question {number}"
    if one["type"] not in QUESTION_TYPES:
        return f"'{one['type']}' in survey question {number} is not one of '{', '.join(QUESTION_TYPES)}' allowed question types."
    if one["variable"] in seen:
        return f"'variable' '{one['variable']}' duplicated in survey question {number}."
    if one["type"].startswith("multi"):
        if not one.get("choices"):
            return f"Survey question {number} of type {one['type']} must specify choices."
        if one.get("default") and not set(str(one["default"]).splitlines()) <= set(one["choices"]):
            return "Default choice must be answered from the choices listed."
    for key in ("min", "max"):
        if not isinstance(one.get(key, 0), int):
            return f"The {key} limit in survey question {number} expected to be integer."
    return ""


def answer_error(question: dict[str, Any], given: dict[str, Any]) -> str:
    """What AWX says of one answer; empty where it is taken."""
    name, kind = question["variable"], question["type"]
    if name not in given:
        return f"'{name}' value missing" if question["required"] else ""
    value = given[name]
    if kind.startswith("multi"):
        return choice_error(name, value if kind == "multiselect" else [value], question["choices"])
    types = {"integer": (int, "an integer"), "text": (str, "a string"), "textarea": (str, "a string")}
    wanted, said = types[kind]
    if type(value) is not wanted:  # pylint: disable=unidiomatic-typecheck
        return f"Value {value} for '{name}' expected to be {said}."
    length = "" if kind == "integer" else f"length is {len(value)} "
    size = value if kind == "integer" else len(value)
    if size < question.get("min", size):
        return f"'{name}' value {value} is too small ({length}must be at least {question['min']})."
    if size > question.get("max", size):
        return f"'{name}' value {value} is too large (must be no more than {question['max']})."
    return ""


def choice_error(name: str, values: Any, choices: list[str]) -> str:
    if not isinstance(values, list):
        return f"'{name}' value is expected to be a list."
    wrong = [one for one in values if one not in choices]
    return f"Value {wrong[0]} for '{name}' expected to be one of {choices}." if wrong else ""


def page(found: list[dict[str, Any]], query: dict[str, str], path: str) -> dict[str, Any]:
    number, size = int(query.get("page", 1)), min(int(query.get("page_size", PAGE)), 200)
    rest = "&".join(f"{key}={value}" for key, value in query.items() if key != "page")
    more = f"{path}?{rest}{'&' if rest else ''}page={number + 1}" if number * size < len(found) else None
    return {"count": len(found), "next": more, "previous": None, "results": found[(number - 1) * size : number * size]}


def playbooks() -> list[str]:
    """What AWX offers as playbooks of a project."""
    return [
        str(file.relative_to(REPO))
        for file in _candidates()
        if re.search(
            r"^\s*-?\s*(hosts|ansible.builtin.import_playbook|import_playbook):", file.read_text("utf-8"), re.MULTILINE
        )
    ]


def _candidates() -> Iterator[Path]:
    for file in [*REPO.glob("*.yml"), *REPO.glob("playbooks/**/*.yml")]:
        parts = file.relative_to(REPO).parts
        if not any(part in ("roles", "tasks", "group_vars", "host_vars") or part.startswith(".") for part in parts):
            yield file


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *__: Any) -> None:
        pass

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = json.loads(self.rfile.read(length) or b"{}") if length else {}
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        with self.server.awx.lock:
            self.server.awx.requests.append(f"{self.command} {url.path}")
            try:
                self._allow()
                status, body = self._answer(url.path, query, data)
            except Refused as refused:
                status, body = refused.status, refused.body
        page_of_html = isinstance(body, str)
        content = b"" if body is None else body.encode() if page_of_html else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("Content-Type", "text/html" if page_of_html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _do

    def _allow(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (ADMIN, READER):
            raise Refused(
                401,
                {
                    "detail": "Authentication credentials were not provided. To establish a login session, visit /api/login/."
                },
            )
        many = len(urlparse(self.path).path.strip("/").split("/")) == 3
        if token == READER and not (self.command == "GET" and many):
            raise Refused(403, {"detail": "You do not have permission to perform this action."})

    def _answer(self, path: str, query: dict[str, str], data: dict[str, Any]) -> tuple[int, Any]:
        awx, method = self.server.awx, self.command
        parts = path.removeprefix("/api/v2/").strip("/").split("/")
        kind = parts[0]
        if path == "/api/v2/ping/":
            return 200, {"version": "24.6.1"}
        if len(parts) == 1 and (kind in OPTIONS or kind == "unified_job_templates"):
            if self.headers.get("Authorization", "").endswith(READER):
                return 200, page([], query, path)
            return (201, awx.create(kind, data)) if method == "POST" else (200, awx.listing(kind, query, path))
        if len(parts) == 2 and kind in KINDS:
            identity = int(parts[1])
            if method == "DELETE":
                awx.remove(kind, identity)
                return 204, None
            return 200, awx.change(kind, identity, data) if method == "PATCH" else awx.shown(
                kind, awx.row(kind, identity)
            )
        if len(parts) == 3:
            return self._below(kind, int(parts[1]), parts[2], query, data)
        # Not JSON: no view of AWX answers.
        raise Refused(404, "<!doctype html><title>Not Found</title>")

    def _below(
        self, kind: str, identity: int, what: str, query: dict[str, str], data: dict[str, Any]
    ) -> tuple[int, Any]:
        awx, method = self.server.awx, self.command
        if kind != "roles":
            awx.row(kind, identity)
        if what == "survey_spec":
            if method == "POST":
                awx.survey(identity, data)
            elif method == "DELETE":
                awx.surveys.pop(identity, None)
            return 200, awx.surveys.get(identity, {})
        if what == "create_approval_template":
            # Of what is sent it keeps its own fields, not those of the node.
            own = {key: data[key] for key in ("name", "description", "timeout") if key in data}
            made = awx.create("workflow_approval_templates", own)
            awx.rows[kind][identity]["unified_job_template"] = made["id"]
            return 201, made
        if what == "launch":
            return 201, awx.launch(identity, data.get("extra_vars", {}))
        if what not in LISTS.get(kind, ()):
            raise Refused(404, "<!doctype html><title>Not Found</title>")
        linked = awx.links.setdefault((kind, identity, what), [])
        if method == "GET":
            return 200, page([{"id": one} for one in linked], query, self.path.partition("?")[0])
        linked.remove(data["id"]) if data.get("disassociate") else linked.append(data["id"])
        return 204, None


class _Server(ThreadingHTTPServer):
    awx: Awx
    daemon_threads = True


class AwxDouble:
    """The double as a server on loopback: `with AwxDouble() as awx: awx.url`."""

    def __init__(self) -> None:
        self.awx = Awx()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.awx = self.awx
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> AwxDouble:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *__: object) -> None:
        self.server.shutdown()
        self.server.server_close()
