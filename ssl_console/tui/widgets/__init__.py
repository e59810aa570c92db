"""Widgets that know nothing of backbones and tasks."""
