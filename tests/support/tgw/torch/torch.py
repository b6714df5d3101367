# SPDX-License-Identifier: Apache-2.0
"""STAND-IN for torch: the few calls that the overlay and its stand-ins make, on numpy arrays."""

import numpy as np

long = np.int64
_random = np.random.default_rng()


class device(str):
    pass


def empty(shape, dtype=long):
    return np.empty(shape, dtype)


def tensor(values, dtype=long):
    return np.asarray(values, dtype)


def rand(count):
    return _random.random(count)[0]


def manual_seed(seed):
    global _random
    _random = np.random.default_rng(seed)
