# SPDX-License-Identifier: Apache-2.0
"""What exists: the census of a cluster, what controllers left behind, what an account offers and allows."""
