"""Options and arguments of the commands, as types with their help texts."""
