"""One global batch over several processes, one a GPU: the loss and the gradient of a single process with the whole
batch.

Every process has the whole batch's row numbers and embeds its share. The embeddings are gathered with their gradient,
so that each process computes the loss of the whole similarity matrix; what flows back into its own rows is the whole
loss's gradient, and the parameters' gradients are summed over the processes. Positives are found by clip, wherever
they were embedded. One process alone is the special case in which nothing is sent.
"""

import os
import shlex
import subprocess
import sys
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

BUCKET = 1 << 25  # bytes of gradients sent at a time


def active():
    """Whether this is one of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank():
    return dist.get_rank() if active() else 0


def world():
    return dist.get_world_size() if active() else 1


@contextmanager
def joined():
    """Join the processes that torchrun started: NCCL where each has a GPU, else gloo."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait():
    """Until every process is here."""
    if active():
        dist.barrier()


def share(rows):
    """This process's part of a sequence (list, array or tensor): contiguous, sizes differ by at most one, none missing.

    ValueError where there are fewer rows than processes.
    """
    if len(rows) < world():
        raise ValueError(
            f"{len(rows)} clips or captions cannot be shared by {world()} processes; raise batch_clips, or "
            "lower processes"
        )
    edges = [len(rows) * i // world() for i in range(world() + 1)]
    return rows[edges[rank()] : edges[rank() + 1]]


class _Gather(torch.autograd.Function):
    """Rows of all processes, in their order. Backwards, each takes the gradient of its own rows: the loss is the same
    everywhere, so this is already the whole gradient."""

    @staticmethod
    def forward(ctx, *given):
        (own,) = given
        counts = [torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(world())]
        dist.all_gather(counts, torch.tensor([len(own)], device=own.device))
        sizes = [int(c) for c in counts]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        ctx.rows = slice(sum(sizes[: rank()]), sum(sizes[: rank() + 1]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, *gradients):
        return gradients[0][ctx.rows].contiguous()


def gather(own):
    """(own rows, ...) -> (all processes' rows, ...), with the gradient of the own ones."""
    return _Gather.apply(own) if active() else own


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient, as every process's loss depends on the sum."""

    @staticmethod
    def forward(ctx, *given):
        total = given[0].clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, *gradients):
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def sum_gradients(parameters):
    """Add up every parameter's gradient over the processes, in buckets; one that has none counts as zero."""
    if not active():
        return
    bucket, size = [], 0
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        size += parameter.grad.nbytes
        if size >= BUCKET:
            _sum_bucket(bucket)
            bucket, size = [], 0
    _sum_bucket(bucket)


def _sum_bucket(gradients):
    if gradients:
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for own, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            own.copy_(total.view_as(own))


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation in training by the statistics of all processes' maps, on any device."""

    def forward(self, input):
        x = input
        if not (self.training and active()):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            full = x if x.dtype == torch.float64 else x.float()
            count = full.new_tensor([full.numel() / full.shape[1]])
            total = _Sum.apply(torch.cat([full.sum((0, 2, 3)), count]))
            count, mean = total[-1].detach(), total[:-1] / total[-1].detach()
            centred = full - mean[:, None, None]
            variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
            if self.track_running_stats:
                self._follow(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean, variance):
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def share_statistics(model):
    """Make every BatchNorm2d of a model normalise by the global batch; parameters and names stay."""
    if active():
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlobalBatchNorm2d


def launch(processes, study, run):
    """Train a run by several processes (`corrlib.training.worker`), until its last checkpoint is written.

    The same from a notebook and headless: `processes` of this machine by torchrun, or what the environment's
    CORRLIB_LAUNCHER starts in its place (`srun torchrun --nnodes ...`). RuntimeError where one of them failed.
    """
    standard = f"{shlex.quote(sys.executable)} -m torch.distributed.run --standalone --nproc-per-node={processes}"
    command = shlex.split(os.environ.get("CORRLIB_LAUNCHER", standard)) + ["-m", "corrlib.training.worker", study, run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as workers:
        for line in workers.stdout or ():
            print(line, end="", flush=True)
    if workers.returncode:
        raise RuntimeError(
            f"training by {processes} processes failed (exit status {workers.returncode}); the error is "
            "above, finished epochs are kept: mend it and run again"
        )
