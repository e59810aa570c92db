"""The files of a workspace: layout, run folders, events, requests, results database."""
