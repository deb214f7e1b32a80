"""Programs of several workers, on gloo."""

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed, nn

from counting.batches import Size, sizes
from counting.families import FAMILIES
from counting.journal import Journal

STEPS = 24


def _join() -> int:
    distributed.init_process_group("gloo")
    return int(distributed.get_rank())


def _leave() -> None:
    distributed.barrier()
    distributed.destroy_process_group()


def _train(wrap: Callable[[Any], Any], *, apart: bool = True) -> None:
    """Train a wrapped model; workers have their own batches, unless they share one."""
    rank = _join()
    model = wrap(FAMILIES["llama"].model().train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    drawn = sizes(STEPS, seed=4 + (rank if apart else 0))
    for size in drawn:
        model(**FAMILIES["llama"].make_batch(size)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    _leave()


def ddp(_journal: Journal) -> None:
    """Replicas; the gradients are averaged."""
    _train(nn.parallel.DistributedDataParallel)


def ddp_accumulated(_journal: Journal) -> None:
    """Replicas that average only every third micro-batch's gradients."""
    rank = _join()
    plain = FAMILIES["llama"].model().train()
    model: Any = nn.parallel.DistributedDataParallel(plain)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for number, size in enumerate(sizes(3 * STEPS, seed=4 + rank)):
        batch = FAMILIES["llama"].make_batch(size)
        if number % 3 == 2:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            continue
        with model.no_sync():
            model(**batch).loss.backward()
    _leave()


def fsdp1(_journal: Journal) -> None:
    """FullyShardedDataParallel: each block gathered while it runs."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    policy = ModuleWrapPolicy({LlamaDecoderLayer})
    _train(
        lambda model: FullyShardedDataParallel(
            model, auto_wrap_policy=policy, device_id=torch.device("cpu")
        ),
    )


def fsdp2(_journal: Journal) -> None:
    """fully_shard: parameters are DTensors, gathered while a block runs."""
    from torch.distributed.fsdp import fully_shard

    def wrap(model: Any) -> Any:
        for block in model.model.layers:
            fully_shard(block)
        return fully_shard(model)

    _train(wrap)


def tensor(_journal: Journal) -> None:
    """Tensor parallelism: half of every projection's outputs or inputs."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    def wrap(model: Any) -> Any:
        mesh = init_device_mesh("cpu", (2,))
        plan = {
            **{f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"},
            "self_attn.o_proj": RowwiseParallel(),
            "mlp.gate_proj": ColwiseParallel(),
            "mlp.up_proj": ColwiseParallel(),
            "mlp.down_proj": RowwiseParallel(),
        }
        for block in model.model.layers:
            parallelize_module(block, mesh, plan)
        return model

    _train(wrap, apart=False)


class Half(nn.Module):
    """Half of a Llama: the embeddings and a block, or a block and the head."""

    def __init__(self, model: Any, rank: int) -> None:
        super().__init__()
        body = model.model
        self.embed = body.embed_tokens if rank == 0 else None
        self.block, self.rotary = body.layers[rank], body.rotary_emb
        self.norm = body.norm if rank == 1 else None
        self.head = model.lm_head if rank == 1 else None

    def forward(self, inputs: torch.Tensor) -> Any:
        """Turn token numbers into activations, or activations into logits."""
        hidden = inputs if self.embed is None else self.embed(inputs)
        positions = torch.arange(hidden.shape[1])[None]
        turned = self.rotary(hidden, positions)
        hidden = self.block(hidden, position_embeddings=turned, attention_mask=None)
        if self.norm is None or self.head is None:
            return hidden
        return self.head(self.norm(hidden))


def pipeline(_journal: Journal) -> None:
    """Two stages and two micro-batches, by GPipe's schedule."""
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

    rank = _join()
    half = Half(FAMILIES["llama"].model().train(), rank)
    stage = PipelineStage(half, rank, 2, torch.device("cpu"))
    schedule = ScheduleGPipe(stage, n_microbatches=2, loss_fn=_loss)
    optimizer = torch.optim.AdamW(half.parameters(), lr=1e-4)
    batch = FAMILIES["llama"].make_batch(Size(4, 20))
    for _ in range(STEPS):
        if rank == 0:
            schedule.step(batch["input_ids"])
        else:
            schedule.step(target=batch["labels"])
        optimizer.step()
        optimizer.zero_grad()
    _leave()


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> Any:
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
