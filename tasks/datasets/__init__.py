"""Readers of the datasets' true on-disk layouts."""
