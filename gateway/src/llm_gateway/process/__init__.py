# SPDX-License-Identifier: Apache-2.0
"""Worker processes: start, background work, orderly end."""
