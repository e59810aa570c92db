"""Command signatures."""
