"""The table of manifests that people write, with the sentence that each is answered by.

`answer` is a part of the API server's message, "" where the manifest is good. `reader`
says that the operator's own reader must agree (it sees files that no API server
checked, in local mode); it is False for rules that the API server alone judges.
"""

from dataclasses import dataclass

WORKLOAD = "workload: {name: train}"


@dataclass(frozen=True)
class Manifest:
    """One manifest: a sentence, the YAML of its spec, the answer."""

    case: str
    spec: str
    answer: str = ""
    kind: str = "FineTuneRun"
    name: str = "case"
    reader: bool = True

    def text(self) -> str:
        """Return the whole manifest as a user writes it."""
        lines = "\n".join(f"  {line}" for line in self.spec.splitlines())
        return (
            f"apiVersion: flopguard.dev/v1alpha1\nkind: {self.kind}\n"
            f"metadata: {{name: {self.name}}}\nspec:\n{lines}\n"
        )


def run(case: str, spec: str, answer: str = "", *, reader: bool = True) -> Manifest:
    """A FineTuneRun with a workload and the given lines."""
    return Manifest(case, f"{WORKLOAD}\n{spec}", answer, reader=reader)


def base(case: str, fields: str, answer: str = "") -> Manifest:
    """A FineTuneRun with a base model of the given fields."""
    return run(case, f"baseModel: {{name: some/model, {fields}}}", answer)


def budget(
    case: str, fields: str, answer: str = "", *, reader: bool = True
) -> Manifest:
    """A FineTuneRun with a budget of the given fields."""
    return run(case, f"budget: {{{fields}}}", answer, reader=reader)


def program(case: str, spec: str, answer: str = "", *, reader: bool = True) -> Manifest:
    """A FineTuneProgram with the given lines."""
    return Manifest(case, spec, answer, kind="FineTuneProgram", reader=reader)


def decision(
    case: str, spec: str, answer: str = "", *, reader: bool = True
) -> Manifest:
    """A ThresholdDecision with the given lines and a person who decided."""
    return Manifest(
        case,
        f"decidedBy: admin\n{spec}",
        answer,
        kind="ThresholdDecision",
        reader=reader,
    )


FULL = """\
program: support-bot
workload: {apiVersion: batch/v1, kind: Job, name: support-sft}
baseModel:
  name: meta-llama/Llama-3.1-70B
  pretrainingFlops: "8.0e24"
  pretrainingFlopsHigh: "9.1e24"
  source: "model card, table 2"
  systemicRisk: false
policy: eu-ai-act-30-percent
budget:
  {maxFlops: "1e22", warnAtPercent: [50, 80, 95], onWarn: Annotate, onBreach: Suspend}
threshold: {warnAtPercent: [20, 50, 80], holdAtPercent: 95, onApproach: Suspend}
plan: {trainingTokens: "2e9", method: LoRA, onForecastBreach: Annotate}
metering:
  {hook: Auto, gpu: Auto, container: trainer, profiler: "Off", chargeCpuPods: false}
onDelete: Keep"""

RUNS = (
    Manifest("every field of the design at once", FULL),
    Manifest("nothing but a workload", WORKLOAD),
    Manifest("no workload", "program: a", "spec.workload: Required value"),
    Manifest(
        "a workload without a name",
        "workload: {kind: Job}",
        "spec.workload.name: Required value",
    ),
    Manifest(
        "a kind that cannot be held yet",
        "workload: {kind: Deployment, name: train}",
        'Unsupported value: "Deployment": supported values: "Job"',
    ),
    Manifest(
        "another group of Job",
        "workload: {apiVersion: batch.volcano.sh/v1alpha1, kind: Job, name: train}",
        'supported values: "batch/v1"',
    ),
    Manifest(
        "a workload's name in capitals",
        "workload: {name: Train}",
        "spec.workload.name in body should match",
    ),
    Manifest(
        "a workload's name that fits in no label",
        f"workload: {{name: {'a' * 64}}}",
        "Too long: may not be more than 63",
    ),
    Manifest(
        "a run's name that fits in no label",
        WORKLOAD,
        "the name goes into a label, so it may have at most 63 characters",
        name="a" * 64,
        reader=False,
    ),
    Manifest(
        "a workload that is a name only",
        "workload: train",
        'spec.workload: Invalid value: "string"',
    ),
    run(
        "a field with a typing error",
        'budgett: {maxFlops: "1e22"}',
        'unknown field "spec.budgett"',
        reader=False,
    ),
    run("a policy that is shipped", "policy: eu-ai-act-30-percent"),
    run("a policy of one's own", "policy: house-rules"),
    run("a policy's name with a space", 'policy: "house rules"', "should match"),
    run("a program", "program: support-bot"),
    run("a program's name with a space", 'program: "support bot"', "should match"),
    run("a hold that a deletion lifts", "onDelete: Release"),
    run("an unknown word for onDelete", "onDelete: Forget", '"Keep", "Release"'),
)

FIGURES = (
    budget("a budget as digits", 'maxFlops: "10000000000000000000000"'),
    budget("a budget with an exponent", 'maxFlops: "3.3e22"'),
    budget("a budget with E and a plus", 'maxFlops: "3.3E+22"'),
    budget("a budget of one FLOP", 'maxFlops: "1"'),
    budget("the largest figure", 'maxFlops: "9.9e29"'),
    budget(
        "an unquoted budget",
        "maxFlops: 3.3e22",
        'spec.budget.maxFlops: Invalid value: "number"',
        reader=False,  # PyYAML reads it as text, Go as a number
    ),
    budget(
        "an unquoted whole budget",
        "maxFlops: 1000",
        'spec.budget.maxFlops: Invalid value: "integer"',
    ),
    budget("a budget in words", 'maxFlops: "a lot"', "should match"),
    budget("a budget with a suffix", 'maxFlops: "10E"', "should match"),
    budget("a budget with separators", 'maxFlops: "1,000"', "should match"),
    budget("a negative budget", 'maxFlops: "-1e22"', "should match"),
    budget("an empty budget figure", 'maxFlops: ""', "should match"),
    budget("a budget of zero", 'maxFlops: "0"', "must be at least 1"),
    budget("a budget below one FLOP", 'maxFlops: "0.5"', "must be at least 1"),
    budget("a budget above all reason", 'maxFlops: "1e31"', "must be below 1e30"),
    budget("a figure that never ends", f'maxFlops: "{"9" * 200}"', "Too long"),
)

BUDGETS = (
    budget("a share of the threshold", "percentOfThreshold: 50"),
    budget("the whole threshold", "percentOfThreshold: 100"),
    budget(
        "more than the threshold",
        "percentOfThreshold: 101",
        "should be less than or equal to 100",
    ),
    budget("no limit at all", "onBreach: Suspend", "exactly one of maxFlops and"),
    budget(
        "two limits",
        'maxFlops: "1e22", percentOfThreshold: 50',
        "exactly one of maxFlops and percentOfThreshold",
    ),
    budget("no warnings", 'maxFlops: "1e22", warnAtPercent: []'),
    budget(
        "a warning at 0 %",
        'maxFlops: "1e22", warnAtPercent: [0, 50]',
        "should be greater than or equal to 1",
    ),
    budget(
        "a warning beyond the budget",
        'maxFlops: "1e22", warnAtPercent: [120]',
        "should be less than or equal to 100",
    ),
    budget(
        "a warning at a fraction of a percent",
        'maxFlops: "1e22", warnAtPercent: [99.5]',
        "must be of type integer",
    ),
    budget(
        "eleven warnings",
        'maxFlops: "1e22", warnAtPercent: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]',
        "must have at most 10 items",
    ),
    budget(
        "a breach that kills",
        'maxFlops: "1e22", onBreach: Delete',
        'supported values: "Suspend", "Annotate"',
    ),
    run("a budget that is null", "budget: null"),
    run("a hold above the threshold, to go on", "threshold: {holdAtPercent: 150}"),
    run("a threshold that only annotates", "threshold: {onApproach: Annotate}"),
    run(
        "a hold at 0 % of the threshold",
        "threshold: {holdAtPercent: 0}",
        "should be greater than or equal to 1",
    ),
    run(
        "an unknown reaction",
        "threshold: {onApproach: Panic}",
        '"Suspend", "Annotate", "Nothing"',
    ),
)

BASE_MODELS = (
    base("a base model whose figure is unknown", "systemicRisk: false"),
    base(
        "a figure with its source",
        'pretrainingFlops: "8e24", source: "model card, table 2"',
    ),
    base(
        "an upper estimate above the figure",
        'pretrainingFlops: "8e24", pretrainingFlopsHigh: "9.1e24", source: paper',
    ),
    base(
        "a figure without a source",
        'pretrainingFlops: "8e24"',
        "a figure without a source does not count",
    ),
    base(
        "an upper estimate below the figure",
        'pretrainingFlops: "8e24", pretrainingFlopsHigh: "7e24", source: paper',
        "may not be below it",
    ),
    base(
        "an upper estimate alone",
        'pretrainingFlopsHigh: "9.1e24"',
        "pretrainingFlopsHigh needs pretrainingFlops",
    ),
    base(
        "systemic risk in words",
        'systemicRisk: "yes"',
        'spec.baseModel.systemicRisk: Invalid value: "string"',
    ),
    run(
        "a base model without a name",
        "baseModel: {systemicRisk: true}",
        "spec.baseModel.name: Required value",
    ),
    run(
        "a base model's name on two lines",
        'baseModel: {name: "some/model\\nState: Held"}',
        "spec.baseModel.name in body should match",
    ),
)

METERING = (
    run("one named container", "metering: {container: trainer}"),
    run("metering switched off", 'metering: {hook: "Off"}'),
    run(
        "off without quotes, which YAML reads as false",
        "metering: {hook: off}",
        'spec.metering.hook: Invalid value: "boolean"',
    ),
    run(
        "a profiler, which is not there yet",
        'metering: {profiler: "On"}',
        'supported values: "Off"',
    ),
    run("tokens with an exponent", 'plan: {trainingTokens: "2e9", method: QLoRA}'),
    run("a method nobody knows", "plan: {method: Magic}", '"Full", "LoRA", "QLoRA"'),
)

PROGRAMS = (
    program(
        "a whole program",
        'baseModel: {name: some/model, pretrainingFlops: "8e24", source: paper}\n'
        'policy: eu-ai-act-30-percent\nbudget: {maxFlops: "1e22"}\n'
        "namespaces: [ml, research]\nowners: {compliance: dana}\n"
        "rollbackPlan: go back to v1\nreviewAtPercent: 90\nretention: {years: 10}",
    ),
    program("an empty program", "{}"),
    program(
        "a namespace twice",
        "namespaces: [ml, ml]",
        'spec.namespaces[1]: Duplicate value: "ml"',
        reader=False,
    ),
    program("a namespace that cannot exist", "namespaces: [Ml]", "should match"),
    program("a review beyond 100 %", "reviewAtPercent: 101", "less than or equal to"),
)

DECISIONS = (
    decision(
        "to let a run proceed",
        "subject: {kind: FineTuneRun, name: sft, namespace: ml}\n"
        'decision: Proceed\ntoFlops: "9e23"\nreason: agreed in review 7',
    ),
    decision(
        "to stop a program",
        "subject: {kind: FineTuneProgram, name: bot}\ndecision: Stop\nreason: enough",
    ),
    decision(
        "no reason given",
        "subject: {kind: FineTuneProgram, name: bot}\ndecision: Stop",
        "spec.reason: Required value",
    ),
    decision(
        "to proceed without a limit",
        "subject: {kind: FineTuneProgram, name: bot}\ndecision: Proceed\nreason: go",
        "toFlops is the new limit of a Proceed decision",
        reader=False,
    ),
    decision(
        "a run without its namespace",
        "subject: {kind: FineTuneRun, name: sft}\ndecision: Stop\nreason: enough",
        "a FineTuneRun needs its namespace",
        reader=False,
    ),
    decision(
        "an end that is no date",
        "subject: {kind: FineTuneProgram, name: bot}\ndecision: Stop\nreason: enough\n"
        "expires: soon",
        "must be of type date-time",
        reader=False,
    ),
)

MANIFESTS = (
    *RUNS,
    *FIGURES,
    *BUDGETS,
    *BASE_MODELS,
    *METERING,
    *PROGRAMS,
    *DECISIONS,
)
