"""All randomness of a step comes from the training's seed and the step's number.

So no generator's state has to be kept: whoever takes step 700, at once or after ten interruptions, draws the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch


def generator_of(*address: int) -> np.random.Generator:
    """numpy's generator for an address, (seed, purpose, step) say."""
    return np.random.default_rng(list(address))


@contextmanager
def torch_seeded(device: str, *address: int) -> Iterator[None]:
    """Inside, torch's own generators (dropout, samplers) start at the address; afterwards they are as before."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        state = np.random.SeedSequence(list(address)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> np.uint64(1)))
        yield


def batch_of(step: int, count: int, batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """Which of `count` samples make the batch of a step: each epoch is a shuffle of its own, its last batch kept short.

    The published loaders keep the short batch too (`drop_last` off).
    """
    per_epoch = -(-count // batch_size)
    epoch, place = divmod(step, per_epoch)
    order = generator_of(seed, 0, epoch).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


def grouped_batch_of(step: int, groups: Sequence[int], batch_size: int, seed: int) -> npt.NDArray[np.int64]:
    """The same with batches whose samples are of one group each (landscape and portrait images, say), none short.

    `groups` has one number per sample. A group smaller than a batch repeats samples.
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
