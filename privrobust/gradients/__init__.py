"""Clipped sums of per-sample gradients, for any torch module, without the gradients themselves."""
