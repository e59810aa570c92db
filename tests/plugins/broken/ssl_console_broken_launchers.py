"""Declares an object that is not a launcher, and one whose name is taken."""

from ssl_console.launchers.local.launcher import LocalLauncher

LAUNCHERS = ("not a launcher", LocalLauncher)
