# SPDX-License-Identifier: Apache-2.0
"""Where engines come from: a static list, or EndpointSlices of a Kubernetes cluster."""
