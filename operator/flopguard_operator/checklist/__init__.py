"""Walk the jobs of a program through one checklist, and say what is missing. Pure."""
