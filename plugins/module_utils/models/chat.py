# SPDX-License-Identifier: Apache-2.0
"""Whether a repository has a chat template, before any of its weights is fetched.

vLLM, SGLang and TGI have none of their own: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#chat-template
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .http import Client
from .listing import RemoteFile

# Where Transformers saves it, newest first; Mistral's own tokenizer brings its template with it.
_FILES = ("chat_template.jinja", "chat_template.json", "tekken.json")
_SETTINGS = "tokenizer_config.json"


def has_chat_template(client: Client, files: Sequence[RemoteFile]) -> bool:
    """Also True for GGUF files, which hold it inside. SyncError when the tokenizer's settings cannot be fetched."""
    names = {file.path for file in files}
    if names.intersection(_FILES) or any(name.endswith(".gguf") for name in names):
        return True
    settings = next((file for file in files if file.path == _SETTINGS), None)
    return settings is not None and _names_template(client, settings)


def _names_template(client: Client, settings: RemoteFile) -> bool:
    url, __ = settings.address()
    text, __ = client.text(url, lambda: settings.address()[1])
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("chat_template"))
