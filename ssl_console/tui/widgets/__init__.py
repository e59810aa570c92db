"""Widgets independent of backbones and tasks."""
