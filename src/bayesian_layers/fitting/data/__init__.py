"""The rows that a step and an evaluation see: whole data sets, batches of tensors, streams of batches."""
