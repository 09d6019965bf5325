"""One optimizer step: its objective, its capture as a list of operations, and its execution."""
