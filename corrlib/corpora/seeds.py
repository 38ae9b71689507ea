"""One seed for each thing that a run draws at random, all from the run's one seed."""

import zlib

import numpy as np

MOST = 2**32 - 1  # of one number: SeedSequence takes it as one word


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """The seed of one purpose, 0 to 2^63 - 1: for `torch.Generator().manual_seed` or `np.random.default_rng`.

    seed: the run's, 0 or more. purpose: what is drawn, such as "crops"; numbers: which of it, such as the epoch and the
    process, each from 0 to 2^32 - 1. The same arguments give the same seed on every machine and in every process;
    any others give one that has nothing to do with it (numpy's SeedSequence, which hashes all of them), so that
    neither neighbouring epochs nor neighbouring seeds share their draws, as sums and products of them would.
    ValueError where a number is out of range.
    """
    if seed < 0 or not all(0 <= number <= MOST and number == int(number) for number in numbers):
        raise ValueError(
            f"cannot derive a seed from seed {seed} and numbers {list(numbers)}; "
            "the seed must be 0 or more, and a number from 0 to 2^32 - 1"
        )
    key = (zlib.crc32(purpose.encode()), *map(int, numbers))
    state = np.random.SeedSequence(int(seed), spawn_key=key).generate_state(1, np.uint64)
    return int(state[0]) >> 1  # what a signed number of 64 bits holds
