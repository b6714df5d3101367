# SPDX-License-Identifier: Apache-2.0
"""Node pools that follow from the models."""
