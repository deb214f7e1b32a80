"""Evidence packs: one file that proves what a run spent, and what checks it."""
