"""Pure functions from state to rows and lines."""
