# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.text_generation, with what bites: failures are swallowed, lengths may be negative."""

from queue import Queue
from threading import Thread

import torch

import modules.shared as shared  # pylint: disable=consider-using-from-import
from modules.logging_colors import logger


class StopNowException(Exception):
    pass


def generate_reply(*args, **kwargs):
    with shared.generation_lock:
        yield from _generate_reply(*args, **kwargs)


def _generate_reply(question, state, stopping_strings=None, is_chat=False):
    if shared.model is None:
        yield ""
        return
    streamed, reply = state["stream"], ""
    for reply in generate_reply_HF(question, question, state, stopping_strings, is_chat=is_chat):
        reply, found = apply_stopping_strings(reply, stopping_strings or [])
        if streamed:
            yield reply
        if found or shared.stop_everything:
            break
    yield reply


def apply_stopping_strings(reply, strings):
    places = [place for place in (reply.find(one) for one in strings) if place >= 0]
    return (reply[: min(places)], True) if places else (reply, False)


def encode(prompt, add_special_tokens=True, add_bos_token=True, truncation_length=None):
    ids = torch.tensor([shared.tokenizer.encode(prompt)])
    return ids if truncation_length is None else ids[:, -truncation_length:]


def get_max_prompt_length(state):
    return state["truncation_length"] - state["max_new_tokens"]


def generate_reply_HF(question, original_question, state, stopping_strings=None, is_chat=False):
    torch.manual_seed(state["seed"])
    ids = encode(question, add_bos_token=state["add_bos_token"], truncation_length=get_max_prompt_length(state))
    names = ("temperature", "top_p", "top_k", "do_sample", "max_new_tokens")
    params = {name: state[name] for name in names}
    params |= {"inputs": ids, "eos_token_id": [shared.tokenizer.eos_token_id], "stopping_criteria": []}
    try:
        if not is_chat:
            yield ""
        if not state["stream"]:
            yield shared.tokenizer.decode(shared.model.generate(**params)[0][ids.shape[-1] :])
            return
        for output in _pieces(params):
            if output[-1] == shared.tokenizer.eos_token_id:
                break
            text = shared.tokenizer.decode(output[ids.shape[-1] :])
            if "\ufffd" not in text:
                yield text
    except Exception:
        logger.exception("Failed to generate reply (HF)")


def _pieces(params):
    """Each token's ids, from a thread that ends at its next token once nobody listens."""
    from modules.transformers_loader import Stream

    queue, end, left = Queue(), object(), []

    def take(ids):
        if left or shared.stop_everything:
            raise StopNowException
        queue.put(ids)

    def work():
        try:
            params["stopping_criteria"].append(Stream(callback_func=take))
            shared.model.generate(**params)
        except StopNowException:
            pass
        except Exception:
            logger.exception("Failed in generation callback")
        queue.put(end)

    Thread(target=work).start()
    try:
        while (found := queue.get()) is not end:
            yield found
    finally:
        left.append(True)
