"""Write what the law says of the figures: policies, threshold, duties, the form."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.ledger.forecasts import due as due_by
from flopguard_operator.policy.evaluation import CROSSED, UNSAID, LineVerdict
from flopguard_operator.policy.rulesets import Note
from flopguard_operator.policy.terms import GIVEN, BaseModel
from flopguard_operator.report import duties as owed
from flopguard_operator.report.blocks import Section, Table
from flopguard_operator.report.duties import DutyFacts
from flopguard_operator.report.facts import SubjectFacts
from flopguard_operator.report.form import Form
from flopguard_operator.report.judgement import criteria
from flopguard_operator.report.moments import when
from flopguard_operator.report.sections import exactly

_SAID = {CROSSED: "crossed", UNSAID: "cannot be said, the base is not known"}
LIMITED = (
    "A criterion is met, or may be. These duties come with it, limited to the"
    " modification; whether they fall on somebody is a legal judgement, which the"
    " criterion does not make."
)
NOT_MET = (
    "No policy's criterion is met, so none of its duties is listed. Duties that fall on"
    " somebody for other reasons are not this report's business."
)


def policies(subject: SubjectFacts) -> Section:
    """Return the verdict of each policy, side by side, and the further lines."""
    if not subject.policies:
        return Section("All policies", (f"Not judged: {subject.problem}.",))
    rows = tuple(
        (
            found.verdict.policy + (" (governs)" if place == 0 else ""),
            found.state,
            display(found.proven),
            display(found.verdict.counted),
            display(found.verdict.limit),
            f"{found.verdict.percent} %",
            found.verdict.rule,
        )
        for place, found in enumerate(criteria(subject))
    )
    head = (
        "Policy",
        "Criterion",
        "Proven",
        "At most",
        "Threshold",
        "Used",
        "Rule",
    )
    table = Table("The indicative criterion under each policy, in FLOPs", head, rows)
    lines = subject.policies[0].lines
    more = (_lines(lines),) if lines else ()
    silent = tuple(
        f"{line.explanation} {line.silent}".strip()
        for line in lines
        if line.state == CROSSED or line.near
    )
    return Section("All policies, side by side", silent, table, more=more)


def _lines(lines: Iterable[LineVerdict]) -> Table:
    return Table(
        "Further lines of the policy that governs, in FLOPs",
        ("Compared", "Line", "Total", "Left", "State", "Source"),
        tuple(
            (
                line.subject,
                display(line.limit),
                _figure(line.total),
                _figure(line.left),
                _SAID.get(line.state, "below")
                + (f", {line.near[-1]} % of it is reached" if line.near else ""),
                line.citation,
            )
            for line in lines
        ),
    )


def _figure(flops: int | Fraction | None) -> str:
    return "not known" if flops is None else display(flops)


def threshold(subject: SubjectFacts) -> Section:
    """Return where the threshold comes from."""
    if subject.threshold is None or subject.terms is None:
        return Section("Threshold and base model", (f"Not judged: {subject.problem}.",))
    return Section(
        "Threshold and base model",
        (
            subject.threshold.explanation,
            (
                f"Governing: {exactly(subject.threshold.limit)}."
                f" Policy {subject.terms.policy}, rule {subject.threshold.rule}."
            ),
            f"Source of the rule: {subject.threshold.citation}.",
            base_model(subject.terms.base),
        ),
    )


def base_model(base: BaseModel) -> str:
    """Return what is known of the base model, in a sentence."""
    known = base.pretraining_flops
    figure = "not known" if known is None else f"{display(known)} FLOPs"
    source = f" (source: {base.source})" if base.source else ""
    risk = "with" if base.systemic_risk else "without"
    told = (
        f"Base model: {base.name or 'not named'}, {risk} systemic risk;"
        f" pre-training: {figure}{source}."
    )
    if base.estimate_low is None:
        return told
    high = base.estimate_high or base.estimate_low
    if base.method == GIVEN:
        return f"{told} It may be up to {display(high)} FLOPs, as given with it."
    return (
        f"{told} Estimated by others: {display(base.estimate_low)} to {display(high)}"
        f" FLOPs ({base.method or 'method not told'})."
    )


def notes(subject: SubjectFacts) -> tuple[Note, ...]:
    """Return where law or rule sets disagree or are silent, each once."""
    found: dict[str, Note] = {}
    for verdict in subject.policies:
        for note in verdict.notes:
            found.setdefault(note.text, note)
    return tuple(found.values())


def open_questions(subject: SubjectFacts) -> Section:
    """Return the open questions of the law that bear on this case."""
    told = tuple(f"{note.text} ({note.source})" for note in notes(subject))
    none = () if told else ("Nothing that these policies say bears on this case.",)
    return Section("Where law or policies are silent or disagree", none, bullets=told)


def duties(subject: SubjectFacts, found: Sequence[DutyFacts]) -> Section:
    """Return the duties that come with a criterion that is met, with their state."""
    if not found:
        return Section("Duties", (NOT_MET,))
    table = Table(
        "Duties that come with the criterion, limited to the modification",
        ("Duty", "What", "Article", "Owner", "State", "Evidence", "Due"),
        tuple(_duty(each) for each in found),
    )
    calendar = Table(
        "Dates",
        ("Day", "What", "Article"),
        tuple((d.day, d.text, d.article) for d in owed.calendar(subject)),
    )
    fines = Table(
        "Fines",
        ("What", "Article", "Since"),
        tuple((f.text, f.article, f.effective) for f in owed.fines(subject)),
    )
    names = ", ".join(v.policy for v in subject.policies if v.duties)
    told = [f"{LIMITED} By the criterion of: {names}."]
    if any(each.duty.open_source_exempt for each in found):
        told.append(
            "Open source: the duties marked so do not apply where the modified model is"
            " released under a free and open-source licence as Art. 53(2) and 54(6) ask"
            " for it; the licence is not known to the meter."
        )
    more = tuple(each for each in (calendar, fines) if each.rows)
    return Section("Duties", tuple(told), table, more=more)


def _duty(each: DutyFacts) -> tuple[str, ...]:
    exempt = " Open source may be exempt." if each.duty.open_source_exempt else ""
    filled = f" Known already: {each.filled}" if each.filled else ""
    return (
        each.duty.name.replace("-", " ").capitalize(),
        f"{each.duty.text}{exempt}{filled}",
        each.duty.article,
        each.owner or f"nobody is named ({each.role})",
        each.state,
        each.evidence or "none yet",
        each.due or "no fixed day",
    )


def documentation(found: Form | None) -> Section:
    """Return the items of the Model Documentation Form, and the notification."""
    heading = "Model Documentation Form: compute, time, energy"
    if found is None:
        return Section(heading, ("Not filled: it cannot be judged.",))
    table = Table(
        "What each recipient gets, rounded as the form asks; - is not for them",
        ("Item", "AI Office", "National authorities", "Downstream providers"),
        tuple(
            (item.name, item.ai_office, item.national, item.downstream)
            for item in found.items
        ),
    )
    within = "lies" if found.within_margin else "may NOT lie"
    told = (
        f"The amount is what policy {found.policy} counts, at most"
        f" {exactly(found.reported)}; {exactly(found.proven)} of it are proven. What"
        f" was executed {within} within 30 % of the reported figure, as C(2025) 5045"
        " para. 123 (C(2025) 7719 point 120) asks of an estimate."
    )
    return Section(heading, (told,), table)


def notification(subject: SubjectFacts, found: Form | None) -> Section:
    """Return the block of paragraph 32, and whether it is called for."""
    heading = "Notification to the Commission"
    if found is None:
        return Section(heading, ("Not filled: it cannot be judged.",))
    return Section(heading, (notification_state(subject),), bullets=found.notification)


def notification_state(subject: SubjectFacts) -> str:
    """Return whether these figures call for a notification, in a sentence.

    The duties with a term are those that a notification fulfils.
    """
    brought = [
        (verdict.policy, duty)
        for verdict in subject.policies
        for duty in verdict.duties
        if duty.within_days is not None
    ]
    if brought:
        names, duty = ", ".join(name for name, _ in brought), brought[0][1]
        return f"Called for by the criterion of {names}. {duty.text} ({duty.article})"
    forecast = subject.account.forecast
    timed = [d for law in subject.laws for d in law.duties if d.within_days is not None]
    if forecast is not None and forecast.first_known and timed:
        due = due_by(timed[0], forecast.first_known)[:10]
        return (
            f"A forecast of {when(forecast.first_known)} UTC says that the criterion"
            f" will be met: due by {due}. {timed[0].text} ({timed[0].article})"
        )
    return (
        "Not called for by these figures; ready for the day on which a criterion with"
        " systemic risk is met, or becomes known to be met."
    )
