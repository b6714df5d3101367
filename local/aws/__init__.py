# SPDX-License-Identifier: Apache-2.0
"""The AWS API on one machine: moto, and what it lacks, held to botocore's service models, with its state on disk."""
