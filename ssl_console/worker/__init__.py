"""Worker process that executes runs: the only part of the console that (through `tasks`) imports torch."""
