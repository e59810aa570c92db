"""The console: command line, terminal app, supervisor, store and ranking. Only the worker imports torch."""

__version__ = "0.1.0"
