# SPDX-License-Identifier: Apache-2.0
"""An emulated AWS API on one machine: moto and what it lacks, checked against botocore's models, with its state on disk."""
