"""Feature inversion with a deep image prior."""
