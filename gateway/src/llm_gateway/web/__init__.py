# SPDX-License-Identifier: Apache-2.0
"""What the gateway serves besides inference: lists of models, metrics, the admin API and its page."""
