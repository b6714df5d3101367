# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for server.py of Text Generation WebUI v4.7.3: own code, see ../README.md."""

import signal
import sys
from threading import Lock

from modules import shared
from modules.logging_colors import logger
from modules.models import load_model
from modules.models_settings import get_model_metadata


def signal_handler(sig, frame):
    sys.exit(0)


signal.signal(signal.SIGINT, signal_handler)
signal.signal(signal.SIGTERM, signal_handler)

if __name__ == "__main__":
    logger.info("Starting the stand-in")
    if shared.args.model:
        get_model_metadata(shared.args.model)
        shared.model, shared.tokenizer = load_model(shared.args.model)
    shared.generation_lock = Lock()
    from modules.api.script import setup

    setup()
