# SPDX-License-Identifier: Apache-2.0
"""Amazon EKS: every operation that the collection calls, with states that change over time."""
