# SPDX-License-Identifier: Apache-2.0
"""What all engines have in common in the cluster, whichever program runs in their pods."""
