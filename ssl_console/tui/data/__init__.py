"""State of the terminal app and its sources; no widgets."""
