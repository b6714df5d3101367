# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for AWS' transformers_neuronx, where there is no Neuron device: its calls and its strictness, computed by numpy."""
