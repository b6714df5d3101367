# SPDX-License-Identifier: Apache-2.0
"""Who asks, how much each may ask, and whose turn it is."""
