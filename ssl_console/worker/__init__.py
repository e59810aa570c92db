"""The process that carries runs out: the only part of the console that (through `tasks`) imports torch."""
