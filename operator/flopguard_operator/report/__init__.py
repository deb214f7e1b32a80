"""Tell what a ledger says of its runs: pure, from entries to Markdown, HTML, JSON."""
