# SPDX-License-Identifier: Apache-2.0
"""Kinds of EKS, and the tokens for its API."""
