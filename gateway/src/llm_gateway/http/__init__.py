# SPDX-License-Identifier: Apache-2.0
"""The client side of the data path: request heads, and the connection that is a state machine."""
