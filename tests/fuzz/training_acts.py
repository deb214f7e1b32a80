"""Acts: the ways to train."""

import contextlib
from collections.abc import Iterator

import torch
from torch.utils import checkpoint

from fuzz.acts import act
from fuzz.stage import Stage


@act()
def train(stage: Stage) -> None:
    """Train plainly."""
    stage.train(most=10)


@act()
def accumulate(stage: Stage) -> None:
    """Run several backwards before a step."""
    for _ in range(stage.dice.randint(1, 3)):
        for _ in range(stage.dice.randint(2, 3)):
            loss = stage.loss()
            (loss / 2).backward()
            stage.say("part", loss)
        stage.optimizer.step()
        stage.optimizer.zero_grad()


@act()
def evaluate(stage: Stage) -> None:
    """Switch to eval and back, without gradients, then train on."""
    for _ in range(stage.dice.randint(1, 3)):
        stage.module.eval()
        mode = stage.dice.choice([torch.no_grad, torch.inference_mode])
        with mode():
            stage.say("eval", stage.loss())
        stage.module.train()
        stage.step()


@act()
def forget_the_loss(stage: Stage) -> None:
    """Run forwards whose backward never comes."""
    for _ in range(stage.dice.randint(1, 4)):
        stage.say("forgotten", stage.loss())
    stage.train(most=2)


@act()
def sum_of_losses(stage: Stage) -> None:
    """Feed one backward by several forwards."""
    for _ in range(3):
        losses = [stage.loss() for _ in range(stage.dice.randint(1, 3))]
        total = torch.stack(losses).sum()
        total.backward()
        stage.say("total", total)
    stage.optimizer.step()
    stage.optimizer.zero_grad()


@act(once=("forward", "no_grad"))
def products_between(stage: Stage) -> None:
    """Multiply outside of the model: before, after and around it."""
    for _ in range(stage.dice.randint(2, 6)):
        side = torch.ones(2, stage.dice.choice([2, 3]), requires_grad=True)
        before = (side @ side.T).sum()
        loss = stage.loss()
        with torch.no_grad():
            weight = (side.T @ side).trace()
        (loss * weight + before).backward()
        stage.optimizer.step()
        stage.optimizer.zero_grad()
        stage.say("mixed", loss, before, weight)


@act()
def checkpointed(stage: Stage) -> None:
    """Checkpoint the whole call, of either kind, then plainly again."""
    for _ in range(stage.dice.randint(2, 4)):
        args, kwargs = stage.model.batch(stage.dice)
        if stage.dice.random() < 0.5 or kwargs or not args:
            out = checkpoint.checkpoint(
                stage.module, *args, use_reentrant=False, **kwargs
            )
        else:
            args = tuple(
                a.requires_grad_() if a.is_floating_point() else a for a in args
            )
            out = checkpoint.checkpoint(stage.module, *args, use_reentrant=True)
        loss = stage.model.loss(out)
        loss.backward()
        stage.say("checkpointed", loss)
    stage.step()


@act()
def autocast(stage: Stage) -> None:
    """Train under autocast, and without in between."""
    for _ in range(stage.dice.randint(2, 5)):
        on = stage.dice.random() < 0.6
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=on),
            stage.caught(RuntimeError, ValueError),
        ):
            loss = stage.loss()
            loss.backward()
            stage.say("autocast", on, loss)
        stage.optimizer.step()
        stage.optimizer.zero_grad()


@act()
def closure(stage: Stage) -> None:
    """Let the optimizer call the model, LBFGS several times a step."""
    parameters = [p for p in stage.module.parameters() if p.requires_grad]
    make = stage.dice.choice([torch.optim.LBFGS, torch.optim.SGD])
    optimizer = (
        torch.optim.LBFGS(parameters, lr=1e-3, max_iter=2)
        if make is torch.optim.LBFGS
        else torch.optim.SGD(parameters, lr=1e-3)
    )

    def again() -> torch.Tensor:
        optimizer.zero_grad()
        loss = stage.loss()
        loss.backward()
        return loss

    with stage.caught(RuntimeError):  # LBFGS knows no complex numbers in old versions
        for _ in range(2):
            stage.say("closure", optimizer.step(again))


@act()
def scaled(stage: Stage) -> None:
    """Scale gradients, clip them, skip a step whose gradients overflow."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for _ in range(stage.dice.randint(2, 3)):
        loss = stage.loss()
        with stage.caught(RuntimeError, NotImplementedError, ValueError, TypeError):
            scaler.scale(loss).backward()
            scaler.unscale_(stage.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(stage.module.parameters(), 0.1)
            scaler.step(stage.optimizer)
            scaler.update()
            stage.say("norm", norm)
        stage.optimizer.zero_grad()


@act()
def toggle_gradients(stage: Stage) -> None:
    """Freeze some parameters, train, thaw them, train."""
    parameters = list(stage.module.parameters())
    for _ in range(stage.dice.randint(1, 3)):
        chosen = stage.dice.sample(parameters, stage.dice.randint(0, len(parameters)))
        for parameter in chosen:
            parameter.requires_grad_(not parameter.requires_grad)
        stage.train(most=4)
    for parameter in parameters:
        parameter.requires_grad_(requires_grad=True)


@act()
def toggle_training(stage: Stage) -> None:
    """Switch parts of the model between train and eval while it is trained."""
    for part in stage.dice.sample(list(stage.module.modules()), 1):
        part.train(not part.training)
    stage.train(most=4)
    stage.module.train()
    stage.train(most=3)


@act()
def schedule(stage: Stage) -> None:
    """Step a scheduler, once before its optimizer, which warns."""
    scheduler = torch.optim.lr_scheduler.StepLR(stage.optimizer, 1)
    if stage.dice.random() < 0.4:
        scheduler.step()
    for _ in range(2):
        stage.step()
        scheduler.step()
    stage.say("rate", *scheduler.get_last_lr())


@act()
def generator_loop(stage: Stage) -> None:
    """Train within a generator that is left half-way."""

    def losses() -> Iterator[torch.Tensor]:
        try:
            while True:
                yield stage.step()
        finally:
            stage.say("the generator ends", stage.loss())

    for count, _loss in zip(range(stage.dice.randint(1, 3)), losses(), strict=False):
        stage.say("so far", count)


@act()
def fresh_optimizer(stage: Stage) -> None:
    """Train on with another optimizer; save and load the state of it."""
    state = stage.optimizer.state_dict()
    stage.optimizer = stage.new_optimizer()
    stage.train(most=3)
    with stage.caught(ValueError, KeyError, RuntimeError):
        stage.optimizer.load_state_dict(state)
        stage.train(most=1)
    stage.optimizer = stage.new_optimizer()


@act()
def grad_mode_within(stage: Stage) -> None:
    """Switch gradients off globally around some calls."""
    for _ in range(stage.dice.randint(2, 5)):
        off = stage.dice.random() < 0.5
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(not off)
        with contextlib.ExitStack() as stack:
            stack.callback(torch.set_grad_enabled, before)
            stage.step()
