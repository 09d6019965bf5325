"""One optimizer step: its objective, how it is recorded, and how it is replayed."""
