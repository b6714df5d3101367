# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's HTTP server under llama-server's flag names, for a pod: one model folder, a drain on SIGTERM."""
