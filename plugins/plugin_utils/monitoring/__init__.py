# SPDX-License-Identifier: Apache-2.0
"""What is seen of the platform: alerts and dashboards as data."""
