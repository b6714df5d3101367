# SPDX-License-Identifier: Apache-2.0
"""What all kinds of AWS resources share: reading, planning, waiting, tags, errors, and the connection to AWS."""
