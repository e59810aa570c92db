"""Styled text, glyphs, themes and palette."""
