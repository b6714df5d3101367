# SPDX-License-Identifier: Apache-2.0
"""Programs of the compiler's image, one for each library: `HELPER.py versions`, `HELPER.py compile SPEC.json`.

They print one JSON object as their last line, and import nothing of ours.
"""
