# SPDX-License-Identifier: Apache-2.0
"""Neuron artifacts: compiled once for each exact key, never on a request's time.

key       what decides whether compiled graphs fit: one hash, and which part differs where they do not
backends  how each library is asked for its versions, and compiles
compiler  one compilation in a process of its own: its log, its end, what its failures mean
store     artifacts beside the models: whole or not there, one builder at a time
job       the same as a program: the Job in the cluster, and the check before an engine loads
Standard library only; the libraries are imported in the child process, by the backend's own program.
"""
