"""Predictions of more images than one process should do: by torchrun, or by Ray."""
