# SPDX-License-Identifier: Apache-2.0
"""A request from a client's bytes to an engine and back."""
