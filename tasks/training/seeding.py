"""Randomness of a step, derived from the training's seed and the step's number.

No generator state has to be stored: step 700 draws the same numbers after any number of interruptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch


def generator_of(*address: int) -> np.random.Generator:
    """numpy generator of an address, e.g. (seed, purpose, step)."""
    return np.random.default_rng(list(address))


@contextmanager
def torch_seeded(device: str, *address: int) -> Iterator[None]:
    """Seed torch's global generators (dropout, samplers) in the context and restore their state afterwards."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        state = np.random.SeedSequence(list(address)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))
        yield


def batch_of(step: int, count: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of a step's batch among `count` samples: each epoch is a new permutation; its last batch may be smaller.

    The published loaders also use the smaller batch (`drop_last` is false).
    """
    per_epoch = -(-count // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = generator_of(seed, 0, epoch).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


def grouped_batch_of(step: int, groups: Sequence[int], batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """As `batch_of`, with batches of one group each (e.g. landscape and portrait images), all of full size.

    `groups` is the group of each sample. A group smaller than a batch repeats samples.
    """
    kinds = np.asarray(groups)
    per_epoch = max(1, len(kinds) // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = generator_of(seed, 0, epoch).permutation(len(kinds))
    batches: list[npt.NDArray[np.int64]] = []
    for kind in np.unique(kinds):
        members = order[kinds[order] == kind]
        padded = np.resize(members, max(batch_size, len(members) // batch_size * batch_size))
        batches.extend(padded.reshape(-1, batch_size))
    turn = generator_of(seed, 1, epoch).permutation(len(batches))
    chosen: npt.NDArray[np.int64] = batches[turn[place % len(batches)]]
    return chosen
