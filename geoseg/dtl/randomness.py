"""Randomness that belongs to a sample, not to the order of the work.

A sample's key is a hash of the seed, its image and the path it took through the graph. Every draw comes from
a generator made of that key, so neither the number of workers nor the order of layers in the file matters.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

__all__ = ["derive", "generator", "root_key"]


def root_key(seed: int, *names: str | int) -> bytes:
    """The key of an image: ``seed`` and whatever names the image."""
    return blake2b("\x1f".join(map(str, (seed, *names))).encode(), digest_size=16).digest()


def derive(key: bytes, *steps: str | int) -> bytes:
    """The key after some more steps."""
    return blake2b(key + "\x1f".join(map(str, steps)).encode(), digest_size=16).digest()


def generator(key: bytes) -> np.random.Generator:
    """A generator that depends on the key alone.

    Examples
    --------
    >>> key = root_key(1, "a.png")
    >>> bool(generator(key).random() == generator(key).random())
    True
    """
    return np.random.default_rng(int.from_bytes(key, "big"))
