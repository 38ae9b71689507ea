"""One global batch over several processes, one a GPU: the loss and the gradient of a single process with the whole
batch.

Every process has the whole batch's row numbers and embeds its share. The embeddings are gathered, so that each process
computes the loss of the whole similarity matrix, and sends an equal part of it backwards: what `gather` carries back is
summed over the processes, and so are the parameters' gradients. Positives are found by clip, wherever they were
embedded. One process alone is the special case in which nothing is sent.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather, all_reduce

from corrlib.models.precision import full_precision
from corrlib.processes import leash

BUCKET = 1 << 25  # bytes of gradients sent at a time
Rows = TypeVar("Rows", Tensor, list[Any])


def active() -> bool:
    """Whether this is one of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def process_index() -> int:
    """Which of the processes this is, from 0 on."""
    return dist.get_rank() if active() else 0


def process_count() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if active() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started: NCCL where each has a GPU, else gloo."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Until every process is here."""
    if active():
        dist.barrier()


def share(rows: Rows) -> Rows:
    """This process's part of a tensor or list: contiguous, sizes differ by at most one, none missing.

    ValueError where there are fewer rows than processes.
    """
    if len(rows) < process_count():
        raise ValueError(
            f"{len(rows)} clips or captions cannot be shared by {process_count()} processes; raise batch_clips, or "
            "lower processes"
        )
    edges = _edges(len(rows))
    return rows[edges[process_index()] : edges[process_index() + 1]]  # pyrefly: ignore[bad-return]


def _edges(rows: int) -> list[int]:
    """Where each process's share of so many rows begins, and the last one ends."""
    return [rows * process // process_count() for process in range(process_count() + 1)]


def gather(own: Tensor, rows: int) -> Tensor:
    """This process's share (own rows, E) of so many rows -> all of them (rows, E), in the order of `share`.

    The gradient of the own rows is the sum of what every process's loss says of them.
    """
    if not active():
        return own
    sizes = [stop - start for start, stop in pairwise(_edges(rows))]
    equal = F.pad(own, (0, 0, 0, max(sizes) - len(own)))
    return torch.cat([share[:size] for share, size in zip(all_gather(equal), sizes, strict=True)])


def gather_notes(own: dict[int, str], rows: int) -> dict[int, str]:
    """{row: note} of this process's share of so many rows, numbered from its beginning -> those of all, by row.

    By way of the processors, so that no GPU is waited for.
    """
    if not active():
        return own
    found: list[dict[int, str]] = [{} for _ in range(process_count())]
    dist.all_gather_object(found, own, group=_of_processors())
    return {start + row: note for start, notes in zip(_edges(rows), found, strict=False) for row, note in notes.items()}


@cache
def _of_processors() -> Any:
    return dist.new_group(backend="gloo")


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
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


def _sum_bucket(gradients: list[Tensor]) -> None:
    if gradients:
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for own, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            own.copy_(total.view_as(own))


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation in training by the statistics of all processes' maps, on any device.

    torch's own, nn.SyncBatchNorm, refuses maps that are not on a GPU (tests/models/test_fast.py shows it), and
    then processes without one could not train MobileNets, nor a test walk the lines that a GPU's run takes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """input (B, C, F, T) -> the same shape and kind; computed in float32, or float64 as given."""
        if not (self.training and active()):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            maps = full_precision(input)
            count = maps.new_full((1,), maps.numel() / maps.shape[1])  # no copy, for which a GPU would be waited
            total = all_reduce(torch.cat([maps.sum((0, 2, 3)), count]))
            count, mean = total[-1].detach(), total[:-1] / total[-1].detach()
            centred = maps - mean[:, None, None]
            variance = all_reduce(centred.square().sum((0, 2, 3))) / count
            if self.track_running_stats:
                self._follow(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def share_statistics(model: nn.Module) -> None:
    """Make every BatchNorm2d of a model normalise by the global batch; parameters and names stay."""
    if active():
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlobalBatchNorm2d


def launch(processes: int, study: str, run: str) -> None:
    """Train a run by several processes (`corrlib.training.worker`), until its last checkpoint is written.

    The same from a notebook and headless: `processes` of this machine by torchrun, or what the environment's
    CORRLIB_LAUNCHER starts in its place (`srun torchrun --nnodes ...`). RuntimeError where one of them failed.
    """
    standard = f"{shlex.quote(sys.executable)} -m torch.distributed.run --standalone --nproc-per-node={processes}"
    command = shlex.split(os.environ.get("CORRLIB_LAUNCHER", standard)) + ["-m", "corrlib.training.worker", study, run]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=leash()
    ) as workers:
        for line in workers.stdout or ():
            print(line, end="", flush=True)
    if workers.returncode:
        raise RuntimeError(
            f"training by {processes} processes failed (exit status {workers.returncode}); the error is "
            "above, finished epochs are kept: mend it and run again"
        )
