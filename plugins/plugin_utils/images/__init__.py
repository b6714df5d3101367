# SPDX-License-Identifier: Apache-2.0
"""Container images: what their references mean, and registries that hold them."""
