# SPDX-License-Identifier: Apache-2.0
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ansible_collections.llm.on_eks.plugins.action.verify import _examined
from ansible_collections.llm.on_eks.plugins.module_utils.errors import LlmOnEksError
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.conformance import QUESTIONS_OF, Result, examine
from ansible_collections.llm.on_eks.plugins.plugin_utils.engines.target import Target
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports.closing import Closing, masked, render
from ansible_collections.llm.on_eks.plugins.plugin_utils.run import verify
from ansible_collections.llm.on_eks.plugins.plugin_utils.run.verify import VerifyError, ask

GOOD = {
    "object": "text_completion",
    "model": "m",
    "choices": [{"text": " Paris", "finish_reason": "length"}],
    "usage": {"completion_tokens": 2},
}


@pytest.fixture
def front_door():
    """A server that answers every POST with what the test put into `reply`."""
    reply = {"status": 200, "body": GOOD}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            data = json.dumps(reply["body"]).encode()
            self.send_response(reply["status"])
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", reply
    server.shutdown()
    server.server_close()


def test_a_model_that_the_gateway_hears_of_later_is_waited_for(monkeypatch):
    said = iter([["other"], ["other", "m"]])
    monkeypatch.setattr(verify, "list_models", lambda *__: next(said))
    assert verify.listed_with(["m"], "url", "key") == ["other", "m"]


def test_a_model_that_never_comes_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(verify, "list_models", lambda *__: ["other"])
    assert verify.listed_with(["m"], "url", "key", patience_s=0.1) == ["other"]


def test_a_well_formed_answer_is_accepted(front_door):
    url, __ = front_door
    answer = ask(url, "key", "m")
    assert (answer.text, answer.completion_tokens) == (" Paris", 2)


def test_a_model_of_the_same_split_may_answer(front_door):
    url, reply = front_door
    reply.update(status=200, body={**GOOD, "model": "m-next"})
    assert ask(url, "key", "m", shared_with=["m", "m-next"]).text == " Paris"
    with pytest.raises(VerifyError, match="of m-next, not as a text_completion of m or m-other"):
        ask(url, "key", "m", shared_with=["m-other"])


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, {"error": {"message": "no ready engine"}}, "answered 503: no ready engine"),
        (200, {**GOOD, "model": "other"}, "not as a text_completion of m"),
        (200, {**GOOD, "choices": []}, "answered without"),
        (200, {**GOOD, "choices": [{"text": "", "finish_reason": "stop"}]}, "empty or unfinished"),
        (200, {**GOOD, "usage": {"completion_tokens": 0}}, "empty or unfinished"),
        (200, ["not", "an", "object"], "answered without"),
    ],
)
def test_anything_else_fails_loudly(front_door, status, body, said):
    url, reply = front_door
    reply.update(status=status, body=body)
    with pytest.raises(VerifyError, match=said):
        ask(url, "key", "m")


@pytest.mark.parametrize("task", ["generate", "embed", "rerank"])
def test_an_answer_of_another_form_is_a_sentence_and_all_questions_are_asked(front_door, task):
    url, reply = front_door
    reply.update(status=200, body=["not", "an", "object"])
    results = examine(Target(url, "m", task=task, timeout_s=10))
    assert [one.question for one in results] == list(QUESTIONS_OF[task])
    assert all(one.sentence for one in results if one.outcome == "broken")
    assert "broken" in {one.outcome for one in results}


def test_a_model_of_vectors_is_asked_for_one(front_door):
    url, reply = front_door
    reply.update(status=200, body={"data": [{"embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 5}})
    assert ask(url, "key", "m", "embed").text == "a vector of 2 numbers"
    reply.update(body={"data": [{"embedding": []}], "usage": {"prompt_tokens": 5}})
    with pytest.raises(VerifyError, match="answered no vector"):
        ask(url, "key", "m", "embed")


def test_a_model_of_scores_is_asked_for_some(front_door):
    url, reply = front_door
    reply.update(status=200, body={"results": [{"index": 0, "relevance_score": 0.5}]})
    assert ask(url, "key", "m", "rerank").text == "scores 0.500"
    reply.update(body={"results": [{"index": 0}]})
    with pytest.raises(VerifyError, match="answered without"):
        ask(url, "key", "m", "rerank")


def test_nobody_listening_is_one_sentence():
    with pytest.raises(VerifyError, match="got no answer"):
        ask("http://127.0.0.1:9", "key", "m", timeout_s=2)


def test_the_closing_report_never_shows_a_key():
    key = "sk-0123456789abcdefghij"
    text = render(
        Closing(
            "local",
            "http://127.0.0.1:1",
            ["m"],
            " Paris",
            masked(key),
            "kubectl get secret …",
            "/k",
            {"converge": 1.25},
            {"gateway": 3},
        )
    )
    assert key not in text
    assert "curl -s http://127.0.0.1:1/v1/completions" in text
    assert "gateway (3)" in text
    assert "converge 1.2" in text


def test_a_run_without_a_front_door_ends_with_the_way_to_the_gateway_and_its_key():
    text = render(Closing("demo", inside=True))
    assert "http://127.0.0.1:8080/v1 after kubectl -n llm-gateway port-forward service/llm-gateway 8080:8080" in text
    assert "get secret llm-gateway-first-key -o go-template='{{.data.api_key | base64decode}}'" in text
    assert "port-forward" not in render(Closing("demo", "http://127.0.0.1:1", ["m"], key_masked="…", inside=True))


def test_a_model_that_is_not_served_cannot_be_examined():
    options = {
        "conformance": "gone",
        "catalog": [{"name": "gone", "engine": "vllm", "state": "absent"}],
        "front_door": "",
        "timeout": 1,
    }
    with pytest.raises(LlmOnEksError, match="verify_model is 'gone', which model_catalog does not serve"):
        _examined(options, "key")


def test_what_a_model_does_not_hold_is_named(monkeypatch):
    results = [Result("greedy", "held"), Result("stop", "broken", "it went on"), Result("seed", "known", "no seed")]
    monkeypatch.setattr("ansible_collections.llm.on_eks.plugins.action.verify.examine", lambda target: results)
    options = {"conformance": "m", "catalog": [{"name": "m", "engine": "vllm"}], "front_door": "http://x", "timeout": 1}
    with pytest.raises(LlmOnEksError, match="m fails 1 of 3 questions: stop: it went on"):
        _examined(options, "key")
    del results[1]
    assert _examined(options, "key") == {
        "changed": False,
        "models": ["m"],
        "held": ["greedy"],
        "not_asked": {"seed": "no seed"},
    }
