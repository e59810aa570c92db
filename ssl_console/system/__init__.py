"""The operating system: devices, processes, disk space, safe text, errors."""
