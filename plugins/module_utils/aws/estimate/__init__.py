# SPDX-License-Identifier: Apache-2.0
"""What a model needs and what resources cost, as far as that can be computed."""
