"""In which precision things are computed: mixed for networks, full for losses, estimates and embeddings."""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision on `device`: `bfloat16` or `float16`; `float32` is no autocast at all."""
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return torch.autocast(device.type, kinds[precision], enabled=precision != "float32")
