"""Backbone cards: what is known of a backbone before its weights are read, and where the weights are."""
