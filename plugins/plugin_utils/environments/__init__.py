# SPDX-License-Identifier: Apache-2.0
"""Inventories side by side: a new one, what differs between two, and what moves from one to the next."""
