# SPDX-License-Identifier: Apache-2.0
"""Builds the container images of this repository without a registry. See `python -m tools.images --help`."""
