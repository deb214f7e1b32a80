"""Acts: the corners of autograd."""

from typing import Any

import torch
from torch import func, nn

from fuzz.acts import act
from fuzz.stage import Stage


@act()
def retain(stage: Stage) -> None:
    """Run the same graph backwards twice, then once too often."""
    loss = stage.loss()
    loss.backward(retain_graph=True)
    loss.backward()
    stage.say("twice", loss)
    with stage.caught(RuntimeError):
        loss.backward()
    stage.train(most=2)


@act()
def double_backward(stage: Stage) -> None:
    """Penalize gradients: a backward of a backward."""
    for _ in range(stage.dice.randint(1, 4)):
        loss = stage.loss()
        parameters = [p for p in stage.module.parameters() if p.requires_grad]
        with stage.caught(RuntimeError, NotImplementedError):
            grads = torch.autograd.grad(
                loss, parameters, create_graph=True, allow_unused=True
            )
            penalty = sum(g.abs().square().sum() for g in grads if g is not None)
            (loss + 0.1 * penalty).backward()
            stage.say("penalty", loss, penalty)
        stage.optimizer.zero_grad()


@act()
def partial_gradients(stage: Stage) -> None:
    """Ask for some gradients only."""
    for _ in range(stage.dice.randint(2, 4)):
        loss = stage.loss()
        parameters = list(stage.module.parameters())
        chosen = stage.dice.sample(parameters, stage.dice.randint(1, len(parameters)))
        if stage.dice.random() < 0.5:
            grads = torch.autograd.grad(loss, chosen, allow_unused=True)
            stage.say("some", *(g for g in grads if g is not None))
        else:
            loss.backward(inputs=chosen)
            stage.say("inputs", loss)
    stage.optimizer.zero_grad()


class Doubling(torch.autograd.Function):
    """A function of the user's that multiplies in both directions."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        ctx.save_for_backward(rows, weight)
        return rows @ weight

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Multiply twice, with gradients recorded for a part."""
        rows, weight = ctx.saved_tensors
        with torch.enable_grad():
            again = rows.detach().requires_grad_() @ weight
            (extra,) = torch.autograd.grad(again.sum(), weight, allow_unused=True)
        return grad @ weight.T, rows.T @ grad + 0 * extra


@act(once=("forward", "no_grad"))
def own_function(stage: Stage) -> None:
    """Use a custom function, that runs the engine within the engine."""
    weight = torch.randn(3, 2, requires_grad=True)
    for _ in range(stage.dice.randint(1, 5)):
        loss = Doubling.apply(torch.randn(2, 3, requires_grad=True), weight).sum()
        loss.backward()
        stage.say("own function", loss, weight.grad)


@act()
def saved_tensors(stage: Stage) -> None:
    """Pack and unpack what is saved for backward, with a product on the way."""
    if any(isinstance(part, nn.RReLU) for part in stage.module.modules()):
        return  # its noise is saved before it is drawn: a copy of it holds anything
    side = torch.ones(2, 2)
    packs: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        packs.append(tensor.numel())
        return tensor.detach().clone()

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        side @ side  # costs something
        return tensor

    for _ in range(stage.dice.randint(1, 4)):
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            stage.step()
    stage.say("packed", *packs[:9])
    stage.train(most=2)


@act()
def tensor_hooks(stage: Stage) -> None:
    """Hook gradients of tensors and parameters; one multiplies."""
    calls: list[str] = []
    parameter = next(p for p in stage.module.parameters() if p.requires_grad)

    def double(grad: torch.Tensor) -> torch.Tensor:
        calls.append("grad")
        return grad * 2

    handle = parameter.register_hook(double)
    after = parameter.register_post_accumulate_grad_hook(
        lambda p: calls.append(str(tuple(p.shape)))
    )
    stage.train(most=4)
    handle.remove()
    after.remove()
    stage.say("calls", *calls)


@act()
def functional_call(stage: Stage) -> None:
    """Call the model with other parameters than its own."""
    parameters = {
        name: p.detach().clone().requires_grad_()
        for name, p in stage.module.named_parameters()
    }
    for _ in range(stage.dice.randint(1, 4)):
        args, kwargs = stage.model.batch(stage.dice)
        with stage.caught(RuntimeError):
            out = func.functional_call(stage.module, parameters, args, kwargs)
            loss = stage.model.loss(out)
            loss.backward()
            stage.say("functional", loss)


@act()
def transforms(stage: Stage) -> None:
    """Use func.grad, vmap, jacrev and vjp on a small model."""
    layer = nn.Linear(3, 2)
    parameters = dict(layer.named_parameters())

    def loss(values: Any, row: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = func.functional_call(layer, values, (row,)).square().sum()
        return out

    for _ in range(stage.dice.randint(1, 3)):
        rows = torch.randn(stage.dice.choice([2, 3]), 3)
        per_row = func.vmap(func.grad(loss), in_dims=(None, 0))(parameters, rows)
        stage.say("per row", *(per_row[name] for name in sorted(per_row)))
        stage.say("jacobian", func.jacrev(layer)(rows[0]))
        value, pull = func.vjp(layer, rows)
        stage.say("vjp", pull(torch.ones_like(value))[0])
    stage.train(most=2)


@act(once=("forward", "no_grad"))
def forward_mode(stage: Stage) -> None:
    """Differentiate forwards."""
    layer = nn.Linear(3, 2)
    with stage.caught(RuntimeError, NotImplementedError):
        for _ in range(stage.dice.randint(1, 3)):
            rows = torch.randn(2, 3)
            value, tangent = func.jvp(layer, (rows,), (torch.ones(2, 3),))
            stage.say("jvp", value, tangent)


@act()
def backward_of_many(stage: Stage) -> None:
    """Run the engine from several roots with gradients given."""
    for _ in range(stage.dice.randint(1, 4)):
        first, second = stage.loss(), stage.loss()
        torch.autograd.backward([first, second], [torch.tensor(0.5).to(first), None])
        stage.say("roots", first, second)
    stage.optimizer.zero_grad()


@act()
def engine_within_forward(stage: Stage) -> None:
    """Run a backward inside of a forward, as implicit layers do."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                guess = rows.detach().requires_grad_()
                energy = self.layer(guess).square().sum()
                (slope,) = torch.autograd.grad(energy, guess)
            out: torch.Tensor = self.layer(rows - 0.1 * slope)
            return out

    module = Inner()
    for _ in range(stage.dice.randint(2, 5)):
        loss = module(torch.randn(2, 3)).sum()
        loss.backward()
        stage.say("implicit", loss)


@act()
def anomaly(stage: Stage) -> None:
    """Detect anomalies: frames of the forward are kept for the message."""
    with torch.autograd.detect_anomaly(check_nan=True):
        stage.step()
        root = torch.zeros(1, requires_grad=True)
        with stage.caught(RuntimeError):
            (root.sqrt() * 0).backward()
