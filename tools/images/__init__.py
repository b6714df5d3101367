# SPDX-License-Identifier: Apache-2.0
"""Build the container images of this repository where no registry is at hand. See `python -m tools.images --help`."""
