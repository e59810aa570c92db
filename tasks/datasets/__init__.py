"""Datasets: cards, readers of their on-disk layouts, import and download."""
