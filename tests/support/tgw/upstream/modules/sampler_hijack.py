# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.sampler_hijack: counts instead of patching transformers."""

calls = 0


def hijack_samplers():
    global calls
    calls += 1
