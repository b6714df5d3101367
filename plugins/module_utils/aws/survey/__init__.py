# SPDX-License-Identifier: Apache-2.0
"""What is there: the census of a cluster, what controllers left, what an account offers and allows."""
