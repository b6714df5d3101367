# SPDX-License-Identifier: Apache-2.0
"""What something needs and costs, as far as that can be computed."""
