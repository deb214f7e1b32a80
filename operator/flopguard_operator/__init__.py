"""The operator: settles marks in a ledger, judges them, warns and holds."""
