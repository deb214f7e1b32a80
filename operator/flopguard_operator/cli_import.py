"""`flopguard import`: bring a past job, which was not metered, into a program."""

import getpass
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from flopguard_operator.cli_files import UnusableError, json_option, told, write_text
from flopguard_operator.cli_help import epilog, optional_count
from flopguard_operator.cli_run import state_option
from flopguard_operator.flops import display
from flopguard_operator.forecast.architecture import (
    MOST_CONFIG,
    PlanError,
    read_config,
)
from flopguard_operator.forecast.plan import METHODS, Plan
from flopguard_operator.imports import job as jobs
from flopguard_operator.imports import trainer_state
from flopguard_operator.imports.facts import of_facts
from flopguard_operator.imports.hardware import Used, of_devices
from flopguard_operator.imports.job import Job, JobError, with_margin
from flopguard_operator.imports.manifest import (
    Decided,
    as_json,
    as_yaml,
    decision,
    entry,
    in_words,
)
from flopguard_operator.imports.trainer import of_state
from flopguard_operator.imports.training import Trained
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.report.escaping import as_line

_COUNT = click.IntRange(1, 10**12)
_FILE = click.Path(path_type=Path)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_CHECKPOINT = re.compile(r"checkpoint-[0-9]+")
_PERIOD = re.compile(r"[0-9][-0-9T:Z+./]{3,63}", re.ASCII)
_LOCAL = "local/"
_LONGEST = {"name": 253, "decided_by": 253, "reason": 1024, "evidence": 1024}


def _number(
    _: click.Context, option: click.Parameter, text: str | None
) -> Fraction | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        message = "a number is written like 512 or 512.5"
        raise click.BadParameter(message, param=option)
    return Fraction(text)


def _shares(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[Fraction, Fraction] | None:
    if text is None:
        return None
    low, _dash, high = text.partition("-")
    if not all(map(_NUMBER.fullmatch, (low, high or low))):
        message = "a share of the peak is written like 0.4, or 0.3-0.5"
        raise click.BadParameter(message, param=option)
    return Fraction(low), Fraction(high or low)


def _program(_: click.Context, option: click.Parameter, text: str) -> str:
    name = text.removeprefix(_LOCAL)
    if len(name) > 63 or not _NAME.fullmatch(name):  # noqa: PLR2004 - of a Name
        message = "the name of a FineTuneProgram, like support-bot; or local/NAME"
        raise click.BadParameter(message, param=option)
    return text


@click.command(
    "import",
    epilog=epilog(
        "flopguard import support-bot --from out/checkpoint-900/trainer_state.json \\",
        "  --config out/checkpoint-900/config.json --method LoRA --length 2048 \\",
        "  --decided-by dana@example.org --reason 'run of March, before metering' \\",
        "  | kubectl create -f -",
        "flopguard import support-bot --facts facts.yaml --json",
        "flopguard import support-bot --gpu-hours 512 --gpu H100 --precision bf16 \\",
        "  --utilisation 0.3-0.5 --json",
        "flopguard import local/support-bot --facts facts.yaml --reason 'run of March'",
    ),
)
@click.argument("program", callback=_program)
@click.option(
    "--from", "source", type=_FILE, metavar="FILE", help="trainer_state.json."
)
@click.option("--facts", type=_FILE, metavar="FILE", help="YAML of facts.")
@click.option(
    "--gpu-hours",
    callback=_number,
    metavar="NUMBER",
    help="Summed over all devices, idle time too.",
)
@click.option("--gpu", metavar="NAME", help="As nvidia-smi names it, or short: H100.")
@click.option("--precision", default="", metavar="FORMAT", help="bf16, fp16, fp8, ...")
@click.option(
    "--utilisation",
    callback=_shares,
    metavar="SHARE",
    help="Of the peak: 0.4, or least and most, 0.3-0.5.",
)
@click.option("--config", type=_FILE, metavar="FILE", help="The model's config.json.")
@click.option(
    "--params",
    callback=optional_count,
    metavar="NUMBER",
    help="Parameters that work on each token, where there is no config.json.",
)
@click.option(
    "--tokens",
    callback=optional_count,
    metavar="NUMBER",
    help="Tokens trained on over all epochs, padding included.",
)
@click.option("--length", type=_COUNT, help="Tokens of a sample as the model got it.")
@click.option(
    "--batch", type=_COUNT, help="Sequences in an optimizer step, over all workers."
)
@click.option("--method", type=click.Choice(METHODS), help="How it was tuned.")
@click.option("--rank", type=click.IntRange(1, 65_536), help="Rank of the adapters.")
@click.option("--targets", default="", metavar="NAMES", help="Layers with adapters.")
@click.option("--checkpointing/--no-checkpointing", default=None)
@click.option("--name", metavar="NAME", help="Of the job; else its folder's.")
@click.option("--period", default="", help="2026-03-01/2026-03-04.")
@click.option("--evidence", default="", metavar="LINK", help="To what shows it.")
@click.option(
    "--decided-by",
    metavar="USER",
    help="Your user name in the cluster. Of local/NAME: yours on this machine.",
)
@click.option("--reason", help="Why it is brought in, in words for an auditor.")
@click.option("-o", "--output", type=_FILE, help="Write the manifest to this file.")
@state_option
@json_option
def import_job(
    program: str,
    output: Path | None,
    state: Path | None,
    *,
    machine: bool,
    **given: Any,
) -> None:
    """Estimate a past job, and write the decision that counts it for PROGRAM.

    From one of: the trainer_state.json of its Trainer (better with the model's
    config.json), a file of facts, or GPU-hours. It counts by its high estimate, and
    stands apart from what was measured. The manifest is a ThresholdDecision in your
    name: `kubectl auth whoami` says what the cluster calls you.

    PROGRAM local/NAME is that of `flopguard run --program NAME` on this machine: the
    job is entered in its ledger at once, with --reason, and counts from then on.
    """
    _check(given)
    try:
        job = _job(given)
    except (JobError, PlanError) as error:
        raise UnusableError(as_line(str(error))) from error
    decided = Decided(
        program, given["decided_by"] or "", given["reason"] or "", given["evidence"]
    )
    if program.startswith(_LOCAL):
        if output is not None:
            message = "a job of local/NAME is entered at once: --output has no manifest"
            raise click.UsageError(message)
        _enter(job, decided, state, machine=machine)
        return
    manifest = decision(job, decided) if decided.by and decided.reason else None
    if machine:
        found = {"job": as_json(job), "manifest": manifest}
        write_text(json.dumps(found, indent=2) + "\n", output)
        return
    _say(job)
    if manifest is None:
        message = "nothing is written without --decided-by and --reason"
        raise UnusableError(message)
    write_text(as_yaml(manifest), output)


def _say(job: Job) -> None:
    click.echo("\n".join(map(as_line, in_words(job).splitlines())), err=True)


def _enter(job: Job, decided: Decided, folder: Path | None, *, machine: bool) -> None:
    """Enter a job in the ledger of this machine, once there is a reason for it."""
    # Here: it is for POSIX only, and the cluster's programs need none of it.
    from flopguard_operator.local import importing  # noqa: PLC0415 - see above
    from flopguard_operator.local.state import (  # noqa: PLC0415 - see above
        State,
        default_folder,
    )

    if not machine:
        _say(job)
    if decided.reason:
        by = decided.by or _me()
        name = decided.program.removeprefix(_LOCAL)
        try:
            with told():
                where = State(folder or default_folder(os.environ))
                plan = importing.bring_in(
                    where, name, entry(job, replace(decided, by=by))
                )
        except PolicyError as error:
            raise UnusableError(as_line(str(error))) from error
        held = importing.holds(plan)
    if machine:
        found = {"job": as_json(job), "entered": bool(decided.reason)}
        click.echo(json.dumps(found, indent=2))
    elif not decided.reason:
        message = "nothing is entered without --reason"
        raise UnusableError(message)
    else:
        total = display(plan.totals.upper)
        click.echo(f"entered: {name} has spent {total} FLOPs at most")
        if held:
            click.echo(f"held: {as_line(held)}")


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's number without a name
        message = "this machine has no name for you: give --decided-by"
        raise click.UsageError(message) from error


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what the API server would refuse later, and what makes no sense.

    Raises:
        click.UsageError: the options do not fit together, or one is too long.
    """
    sources = [given[name] is not None for name in ("source", "facts", "gpu_hours")]
    if sum(sources) != 1:
        message = "give one of --from, --facts and --gpu-hours"
        raise click.UsageError(message)
    if given["gpu_hours"] is not None and not given["gpu"]:
        message = "--gpu-hours needs --gpu"
        raise click.UsageError(message)
    for name, most in _LONGEST.items():
        if len(given[name] or "") > most:
            message = f"--{name.replace('_', '-')} has more than {most} characters"
            raise click.UsageError(message)


def _job(given: Mapping[str, Any]) -> Job:
    if given["source"] is not None:
        return _of_state(given, given["source"])
    if given["facts"] is not None:
        return _of_facts(given, given["facts"])
    return _of_hours(given)


def _of_state(given: Mapping[str, Any], file: Path) -> Job:
    data = _bytes(file, trainer_state.MOST_BYTES)
    state = trainer_state.read(data)
    plan, noted = _plan(given)
    found = of_state(state, plan)
    name = given["name"] or _folder(file)
    return _made(given, name, (jobs.TRAINER_STATE, data), found, noted)


def _period(text: str) -> str:
    """Return the period of a job; "" where nobody said it.

    Raises:
        click.UsageError: it is none.
    """
    first, _slash, last = text.partition("/")
    if text and (not _PERIOD.fullmatch(text) or (last and last[:10] < first[:10])):
        message = "the period is ISO 8601, like 2026-03-01/2026-03-04"
        raise click.UsageError(message)
    return text


def _of_facts(given: Mapping[str, Any], file: Path) -> Job:
    # An auditor's laptop, which has no pydantic, reads no YAML.
    from flopguard_operator.api import importing  # noqa: PLC0415 - see above

    data = _bytes(file, importing.MOST_BYTES)
    facts, written = importing.load(data.decode("utf-8", "replace"))
    name = given["name"] or facts.name or file.stem
    given = {**given, "period": given["period"] or facts.period}
    return _made(given, name, (jobs.FACTS, data), of_facts(written))


def _of_hours(given: Mapping[str, Any]) -> Job:
    hours, shares = given["gpu_hours"], given["utilisation"]
    used = Used(given["gpu"], hours, given["precision"], shares)
    found = of_devices(used)
    stated = {
        "name": given["name"] or "",
        "gpu": used.gpu,
        "gpuHours": str(hours),
        "precision": used.precision,
        "utilisation": [str(share) for share in shares or ()],
        "period": given["period"],
    }
    # There is no file: what identifies the job is what was said of it.
    data = json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
    noted = (f"there is no file; the digest is that of {data.decode()}",)
    trained = Trained(found.flops, found.formula, found.assumptions)
    name = given["name"] or f"{given['gpu']} x {hours} h"
    return _made(given, name, (jobs.GPU_HOURS, data), trained, noted)


def _made(
    given: Mapping[str, Any],
    name: str,
    read: tuple[str, bytes],
    found: Trained,
    noted: tuple[str, ...] = (),
) -> Job:
    """Return the job with its margin.

    Args:
        given: the options.
        name: of the job.
        read: the method, and the bytes that the estimate was read from.
        found: the estimate.
        noted: what else was read.
    """
    method, data = read
    flops, margin = with_margin(found.flops)
    return Job(
        name=as_line(name)[: _LONGEST["name"]],
        method=method,
        flops=flops,
        formula=as_line(found.formula),
        digest=jobs.digest(data),
        assumptions=tuple(map(as_line, (margin, *found.assumptions, *noted))),
        period=_period(given["period"]),
    )


def _plan(given: Mapping[str, Any]) -> tuple[Plan, tuple[str, ...]]:
    """Return what the options say of the training, and what else was read.

    Raises:
        PlanError: the configuration is no JSON object.
    """
    config: Mapping[str, Any] = {}
    noted: tuple[str, ...] = ()
    if given["config"] is not None:
        data = _bytes(given["config"], MOST_CONFIG)
        config = read_config(data.decode("utf-8", "replace"))
        noted = (f"the model is that of a config.json, SHA-256 {jobs.digest(data)}",)
    names = tuple(name.strip() for name in given["targets"].split(","))
    plan = Plan(
        tokens=given["tokens"],
        length=given["length"],
        batch=given["batch"],
        method=given["method"],
        rank=given["rank"],
        targets=tuple(name for name in names if name),
        checkpointing=given["checkpointing"],
        config=config,
        parameters=given["params"],
    )
    return plan, noted


def _bytes(file: Path, most: int) -> bytes:
    """Return a file, one byte more than there may be at most."""
    with told(), file.open("rb") as stream:
        return stream.read(most + 1)


def _folder(file: Path) -> str:
    """Return the name of a job's output folder."""
    parents = [part.name for part in file.absolute().parents]
    names = [name for name in parents if name and not _CHECKPOINT.fullmatch(name)]
    return names[0] if names else file.stem
