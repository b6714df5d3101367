# SPDX-License-Identifier: Apache-2.0
"""What the gateway is told: settings, names of models, keys."""
