# SPDX-License-Identifier: Apache-2.0
"""What the controller knows of the catalogue's models."""
