"""The console: command line, terminal app, supervisor, store and ranking. Only the worker imports torch."""
