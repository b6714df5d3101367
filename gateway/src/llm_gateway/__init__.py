# SPDX-License-Identifier: Apache-2.0
"""A gateway in front of LLM engines. `docs` of the parts: README.md beside the package."""

__version__ = "1.0.0"
