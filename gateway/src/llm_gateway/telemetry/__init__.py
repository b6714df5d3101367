# SPDX-License-Identifier: Apache-2.0
"""What is told of requests that are over: metrics, access log, traces."""
