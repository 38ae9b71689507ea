"""In which precision things are computed: mixed for networks, full for losses, estimates and embeddings."""

import torch


def full_precision(x):
    """Half precision becomes float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def autocast(device, precision):
    """Mixed precision on `device`; float32 is no autocast at all."""
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return torch.autocast(device.type, kinds[precision], enabled=precision != "float32")
