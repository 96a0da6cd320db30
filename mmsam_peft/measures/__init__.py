"""The mathematics of scores: arrays in, numbers out."""
