"""Command handlers, one module per command or group."""
