"""List every reason that a verdict or a condition can carry.

A reason is machine-readable (conditions, events, metric labels, ledger entries); the
sentence beside it is for people.
"""

# Verdicts of the policy.
BUDGET_WARNING = "BudgetWarning"
"""A warning percentage of the run's own budget is reached."""
BUDGET_EXCEEDED = "BudgetExceeded"
"""The budget is spent: upper ≥ limit."""
THRESHOLD_WARNING = "ThresholdWarning"
"""A warning percentage of the governing legal threshold is reached."""
THRESHOLD_APPROACHED = "ThresholdApproached"
"""The percentage of the threshold at which the run is held is reached."""
THRESHOLD_EXCEEDED = "ThresholdExceeded"
"""The legal threshold itself is crossed, strictly: the indicative criterion is met."""
FORECAST_EXCEEDS_BUDGET = "ForecastExceedsBudget"
"""The forecast of the whole plan is at or above the budget."""
FORECAST_EXCEEDS_THRESHOLD = "ForecastExceedsThreshold"
"""The forecast of the whole plan is above the governing legal threshold."""
BUDGET_ABOVE_THRESHOLD = "BudgetAboveThreshold"
"""The budget is not below the governing threshold, so it does not protect from it."""
LINE_NEARS = "CumulativeLineNears"
"""A further line of the policy (1e23, 1e25, 3.3e24) nears: a percentage is reached."""
LINE_CROSSED = "CumulativeLineCrossed"
"""A further line of the policy is crossed, strictly."""
STOP_DECIDED = "StopDecided"
"""A person decided that the run or program stops."""
OWNERS_MISSING = "OwnersMissing"
"""The program asks for owners and a roll-back plan, and does not name them all."""
PROGRAM = "Program"
"""In front of a reason: the program's runs together have reached the line."""
