"""One run on several processes (``torchrun``), with the gradients of one process and the whole
batch: every sum over the batch, of losses and of batch normalisation alike, runs over all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from data.errors import InputError

Total = Callable[[Tensor], Tensor]
_TIMEOUT = timedelta(hours=2)  # the others wait while the first process validates


@dataclass(frozen=True)
class Group:
    """This process's place: ``rank`` of ``world`` processes, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files, validates and reports."""
        return self.rank == 0

    @property
    def total(self) -> Total:
        """Sum of a tensor over all processes, with its gradient."""
        return alone if self.world == 1 else across


@contextmanager
def join_group() -> Iterator[Group]:
    """The processes started together by ``torchrun`` (gloo on CPU, NCCL on CUDA), or this alone.

    Raises:
        InputError: incomplete environment, or fewer GPUs than processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = (int(os.environ.get(k, "0")) for k in ("RANK", "LOCAL_RANK"))
    cuda = torch.cuda.is_available()
    if cuda:
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local} of this machine has no GPU of its own "
                f"({torch.cuda.device_count()} found); start fewer with --nproc-per-node"
            )
        torch.cuda.set_device(local)
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if world == 1:
        yield Group(0, 1, device)
        return
    missing = [k for k in ("RANK", "MASTER_ADDR", "MASTER_PORT") if k not in os.environ]
    if missing:
        raise InputError(f"WORLD_SIZE is {world} but {missing[0]} is not set; start with torchrun")
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
    try:
        yield Group(rank, world, device)
    finally:
        dist.destroy_process_group()


def alone(x: Tensor) -> Tensor:
    """The sum over one process."""
    return x


class _Sum(torch.autograd.Function):
    """Sum over processes. Every process goes on with the same sum, so its gradient is the sum of
    all their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.detach().clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        y = gradient.clone()
        dist.all_reduce(y)
        return y


def across(x: Tensor) -> Tensor:
    """Sum over all processes, the same on each.

    A loss built on it comes out alike everywhere, and its gradient at each process's part is the
    true one times the number of processes; ``DistributedDataParallel`` takes the mean.
    """
    y: Tensor = _Sum.apply(x)
    return y


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' equal parts of the batch.

    As ``SyncBatchNorm``, which has no CPU version; two passes, for the variance's sake.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        f = x.to(torch.promote_types(x.dtype, torch.float32))
        count = f.numel() // f.shape[1] * dist.get_world_size()
        mean = across(f.sum((0, 2, 3))) / count
        f = f - mean[:, None, None]
        variance = across(f.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            assert self.running_mean is not None and self.running_var is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (f * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def share_batch_norms(net: nn.Module) -> None:
    """Put ``SharedBatchNorm`` in the place of each batch norm; parameters and names stay."""
    for parent in list(net.modules()):
        for name, old in list(parent.named_children()):
            if type(old) is nn.BatchNorm2d:
                new = SharedBatchNorm(old.num_features, old.eps, old.momentum)
                new._parameters, new._buffers = old._parameters, old._buffers
                new.train(old.training)
                setattr(parent, name, new)
