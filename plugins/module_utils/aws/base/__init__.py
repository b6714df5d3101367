# SPDX-License-Identifier: Apache-2.0
"""What all kinds share: reading, planning, waiting, tags, errors, the way to AWS."""
