# SPDX-License-Identifier: Apache-2.0
"""What every engine is in the cluster, whatever runs in its pods."""
