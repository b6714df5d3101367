# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for modules.logging_colors."""

import logging

logger = logging.getLogger("textgen")
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler())
