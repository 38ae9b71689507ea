"""Seeds by purpose: the same everywhere, and none like another."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from corrlib.corpora.seeds import derive_seed


def test_the_same_in_every_process():
    here = derive_seed(7, "crops", 3, 0)
    code = "from corrlib.corpora.seeds import derive_seed; print(derive_seed(7, 'crops', 3, 0))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(there.stdout) == here == derive_seed(np.int64(7), "crops", np.int64(3), 0)
    assert here == 8024947581954601990  # of every release: a finished run can be made again


def test_no_two_alike():
    arguments = [
        (seed, purpose, *numbers)
        for seed in (0, 1, 2, 100003, 2**32, 2**63 - 1)
        for purpose in ("batches", "crops", "")
        for numbers in [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (100003,), (2**32 - 1,)]
    ]
    seeds = [derive_seed(*a) for a in arguments]
    assert len(set(seeds)) == len(arguments)
    assert all(0 <= s < 2**63 for s in seeds)


def test_draws_of_neighbouring_epochs_are_independent():
    """Of 200 neighbouring epochs, the draws of any two correlate as those of independent ones do: 1 / sqrt(2000)."""
    draws = torch.stack(
        [torch.rand(2000, generator=torch.Generator().manual_seed(derive_seed(0, "crops", e))) for e in range(200)]
    )
    correlation = torch.corrcoef(draws) - torch.eye(200)
    assert correlation.abs().max() < 6 / 2000**0.5
    bits = np.array([[derive_seed(0, "crops", e) >> b & 1 for b in range(63)] for e in range(2000)])
    assert np.abs(bits.mean(0) - 0.5).max() < 6 * 0.5 / 2000**0.5  # each bit is a fair coin


@pytest.mark.parametrize("wrong", [(-1, "crops"), (0, "crops", -1), (0, "crops", 2**32), (0, "crops", 0.5)])
def test_what_is_no_number_of_that_kind_is_refused(wrong):
    with pytest.raises(ValueError, match="must be 0 or more"):
        derive_seed(*wrong)
