"""Checkpoints: a fit that is killed resumes and ends with the same bits."""
