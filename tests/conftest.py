import os

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_repository():
    """Tests run from the repository's root, as notebooks do."""
    from corrlib import runs
    runs.enter_repository()
