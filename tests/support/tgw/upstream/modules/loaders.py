# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.loaders."""

loaders_and_params = {"Transformers": ["cpu"], "llama.cpp": ["ctx_size"]}
loaders_samplers = {"Transformers": {"temperature"}, "llama.cpp": {"temperature"}}
