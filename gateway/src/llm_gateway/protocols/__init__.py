# SPDX-License-Identifier: Apache-2.0
"""What clients may say, and how it becomes what engines understand."""
