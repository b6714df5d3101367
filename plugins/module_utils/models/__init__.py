# SPDX-License-Identifier: Apache-2.0
"""Whole model repositories, from where they are published to a shared volume: once, verified, resumable.

source    what a catalogue entry's `source` and `revision` mean
hub, bucket, web, local   what there is at such a source: paths, sizes, digests, and where each byte range is asked for
select    which of these files an engine needs
http      one client: redirects, retries, what a server says about waiting
transfer  files in parts, several at a time, hashed while the bytes pass, resumable after any cut
formats   headers of safetensors; pickles
sync      all of it, onto a `ModelStore`
Standard library only: the same code is the Job in the cluster and the module on a mounted folder.
"""
