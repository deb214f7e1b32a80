"""Judge a run: terms and totals in, verdicts out. Pure; travels in the verifier."""
