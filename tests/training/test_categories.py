"""To which category work goes, and what the hook must leave as it is."""

import copy
import io
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from training.needs import COUNTS_CPU_ATTENTION, needs

# torch 2.4 says that of what its own checkpoints call
pytestmark = pytest.mark.filterwarnings("ignore:.torch.cpu.amp.autocast:FutureWarning")

Counted = Callable[[Callable[[], object]], dict[str, int]]

# A batch of 2 through a layer of 4 x 4
LAYER = 2 * 2 * 4 * 4


def layer() -> nn.Linear:
    """Return a layer whose product is LAYER for `batch()`."""
    return nn.Linear(4, 4, bias=False)


def batch(*, grad: bool = False) -> torch.Tensor:
    """Return two rows of four."""
    return torch.ones(2, 4, requires_grad=grad)


def test_the_loss_outside_the_model_is_forward(counted: Counted) -> None:
    """A product after the root call belongs to its window, even without gradients."""
    model, inputs = layer(), batch()

    def train() -> None:
        out = model(inputs)
        with torch.no_grad():
            out @ out.T  # 2*2*4*2
        (out @ out.T).sum().backward()

    # The loss has two gradients, the layer one
    assert counted(train) == {"forward": LAYER + 64, "backward": 64 + LAYER}


def test_no_grad_within_the_model_is_forward(counted: Counted) -> None:
    """A frozen encoder within the model is part of its forward."""

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = layer(), layer()

        def forward(self, inputs: torch.Tensor) -> Any:
            with torch.no_grad():
                encoded = self.encoder(inputs)
            return self.head(encoded)

    model, inputs = Frozen(), batch()

    assert counted(lambda: model(inputs)) == {"forward": 2 * LAYER}


def test_an_evaluation_closes_its_own_window(counted: Counted) -> None:
    """What follows a no_grad call is not of its category."""
    model, inputs = layer(), batch()

    def evaluate() -> None:
        with torch.no_grad():
            model(inputs)
        inputs @ inputs.T  # 2*2*4*2

    assert counted(evaluate) == {"no_grad": LAYER, "forward": 32}


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_recompute(counted: Counted, *, reentrant: bool) -> None:
    """A forward that is run again in the engine; the early stop saves nothing here."""
    first, second = layer(), layer()
    inputs = batch(grad=True)

    def block(x: torch.Tensor) -> Any:
        return second(first(x)).sin()  # the sine needs the last product again

    def train() -> None:
        out: Any = checkpoint.checkpoint(block, inputs, use_reentrant=reentrant)
        out.sum().backward()

    cost = counted(train)
    # Under no_grad, with no root around it, the first reentrant run has its roots' mode
    first_run = "no_grad" if reentrant else "forward"
    assert cost == {
        first_run: 2 * LAYER,
        "recompute": 2 * LAYER,
        "backward": 4 * LAYER,
    }


def test_a_reentrant_checkpoint_within_a_root_is_forward(counted: Counted) -> None:
    """Its first run has gradients off, but the root has them on."""

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layer()

        def forward(self, inputs: torch.Tensor) -> Any:
            return checkpoint.checkpoint(self.inner, inputs, use_reentrant=True)

    model, inputs = Checkpointed(), batch(grad=True)

    assert counted(lambda: model(inputs).sum().backward()) == {
        "forward": LAYER,
        "recompute": LAYER,
        "backward": 2 * LAYER,
    }


def test_gradients_of_gradients_are_backward(counted: Counted) -> None:
    """Although gradients are recorded in the engine then."""
    model, inputs = layer(), batch(grad=True)

    def penalty() -> None:
        out = model(inputs).square().sum()
        (gradient,) = torch.autograd.grad(out, inputs, create_graph=True)
        gradient.square().sum().backward()

    cost = counted(penalty)
    assert cost.keys() == {"forward", "backward"}
    assert cost["forward"] == LAYER


def test_an_exception_in_a_forward_passes_and_closes_the_window(
    counted: Counted,
) -> None:
    """The user's own error arrives unchanged."""

    class Broken(nn.Module):
        def forward(self, inputs: torch.Tensor) -> Any:
            inputs @ inputs.T
            msg = "theirs"
            raise KeyboardInterrupt(msg)

    model, inputs, fine = Broken(), batch(), layer()

    def train() -> None:
        with torch.no_grad(), pytest.raises(KeyboardInterrupt, match="theirs"):
            model(inputs)
        fine(inputs)

    assert counted(train) == {"no_grad": 32, "forward": LAYER}


def test_a_backward_in_another_thread_counts(counted: Counted) -> None:
    """So does a forward there; the threads end without a deadlock."""
    model, inputs = layer(), batch(grad=True)

    def train() -> None:
        model(inputs).sum().backward()

    def in_threads() -> None:
        for _ in range(20):
            thread = threading.Thread(target=train)
            thread.start()
            thread.join(timeout=60)
            assert not thread.is_alive(), "a training thread did not end in 60 s"

    assert counted(in_threads) == {"forward": 20 * LAYER, "backward": 40 * LAYER}


@pytest.mark.parametrize(
    ("make", "per_element"),
    [
        pytest.param(torch.optim.AdamW, 14, id="AdamW"),
        pytest.param(lambda p: torch.optim.AdamW(p, weight_decay=0), 13, id="no decay"),
        pytest.param(torch.optim.Adam, 13, id="Adam"),
        pytest.param(lambda p: torch.optim.SGD(p, lr=0.1), 2, id="SGD"),
        pytest.param(
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 5, id="with momentum"
        ),
    ],
)
def test_a_step_costs_its_formula(
    make: Callable[[Any], torch.optim.Optimizer], per_element: int, counted: Counted
) -> None:
    """Over the parameters that have a gradient."""
    model, unused = layer(), layer()
    optimizer = make([*model.parameters(), *unused.parameters()])
    model(batch()).sum().backward()

    assert counted(optimizer.step) == {"optimizer": per_element * 16}


@needs("torch.optim", "Muon")
def test_products_within_a_step_are_the_optimizers(counted: Counted) -> None:
    """Muon orthogonalises by products of matrices: 5 rounds of 3 of 4x4x4."""
    model = layer()
    optimizer = torch.optim.Muon(model.parameters())
    model(batch()).sum().backward()
    reference = FlopCounterMode(display=False)

    def step() -> None:
        with reference:
            optimizer.step()

    products = reference.get_total_flops
    assert counted(step) == {"optimizer": products() + (8 + 1) * 16}
    assert products() == 5 * 3 * 2 * 4**3


def test_a_closure_is_forward_and_backward(counted: Counted) -> None:
    """LBFGS calls the model within its step."""
    model, inputs = layer(), batch()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(inputs).square().sum()
        loss.backward()
        return loss

    cost = counted(lambda: optimizer.step(closure))

    assert (cost["forward"], cost["backward"]) == (LAYER, LAYER)


def test_the_users_own_modes_stay_in_order(counted: Counted) -> None:
    """A fake forward costs nothing, and its mode ends where its block ends."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    def fake() -> None:
        with FakeTensorMode():
            out = layer()(batch())
            assert isinstance(out, FakeTensor)

    assert counted(fake) == {}
    assert type(batch()) is torch.Tensor


@pytest.mark.parametrize("copier", ["deepcopy", "pickle", "torch.save"])
def test_models_copy_and_save_without_a_trace_of_the_hook(
    copier: str, counted: Counted
) -> None:
    """A saved model must load where there is no hook."""
    model = layer()
    counted(lambda: model(batch()).sum().backward())
    if copier == "deepcopy":
        assert vars(copy.deepcopy(model)).keys() == vars(model).keys()
        return
    stream = io.BytesIO()
    if copier == "pickle":
        pickle.dump(model, stream)
    else:
        torch.save(model, stream)

    assert b"flopguard" not in stream.getvalue()


@needs("torch.distributed.tensor", "distribute_tensor")
def test_a_wrapped_tensor_costs_what_it_holds(counted: Counted) -> None:
    """A DTensor turns into operators on its local part, charged once."""
    from torch import distributed
    from torch.distributed.tensor import Replicate, distribute_tensor, init_device_mesh

    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        left = distribute_tensor(torch.ones(3, 4), mesh, [Replicate()])
        right = distribute_tensor(torch.ones(4, 5), mesh, [Replicate()])

        assert counted(lambda: left @ right) == {"forward": 120}
        assert counted(lambda: left @ right) == {"forward": 120}
    finally:
        distributed.destroy_process_group()


@COUNTS_CPU_ATTENTION
def test_generation_is_no_grad(counted: Counted) -> None:
    """Prefill and every new token, as torch counts them too."""
    from transformers import LlamaConfig, LlamaForCausalLM

    figures = {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 40}
    config = LlamaConfig(**figures, num_hidden_layers=2, num_attention_heads=4)
    model = LlamaForCausalLM(config)
    reference = FlopCounterMode(display=False)

    def generate() -> None:
        prompt = torch.arange(5)[None]
        with reference:
            model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)

    cost = counted(generate)

    assert cost == {"no_grad": reference.get_total_flops()}
    assert cost["no_grad"] > 0
