# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.shared."""

import argparse

_parser = argparse.ArgumentParser()
for _flag in ("--nowebui", "--api", "--listen", "--cpu"):
    _parser.add_argument(_flag, action="store_true")
for _flag in ("--model", "--model-dir", "--loader", "--api-key", "--admin-key"):
    _parser.add_argument(_flag)
_parser.add_argument("--api-port", type=int, default=5000)
args = _parser.parse_args()
if args.loader not in (None, "Transformers", "llama.cpp"):
    args.loader = None  # as upstream: an unknown loader is forgotten in silence

settings = {"truncation_length": 8192}
model = tokenizer = None
model_name = "None"
stop_everything = False
generation_lock = None
