# SPDX-License-Identifier: Apache-2.0
"""What the gateway tests build with."""
