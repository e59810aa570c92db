"""Output of the command line: data to stdout, messages and progress to stderr."""
