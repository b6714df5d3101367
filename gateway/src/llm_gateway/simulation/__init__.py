# SPDX-License-Identifier: Apache-2.0
"""The gateway's own policies and limits in virtual time, over as many engines and gateways as one likes."""
