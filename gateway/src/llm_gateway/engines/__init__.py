# SPDX-License-Identifier: Apache-2.0
"""The engines behind the gateway: which there are, how they are, which of them gets a request, and the way to it."""
