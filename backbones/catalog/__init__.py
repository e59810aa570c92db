"""Backbone cards, available before weights are read, and the weights folder."""
