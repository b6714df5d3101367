# SPDX-License-Identifier: Apache-2.0
"""The engine side of the data path: engines, their connections, and how they are probed."""
