"""Supervisor: the process that owns a workspace's queue, devices and database, and starts, monitors and stops
workers.
"""
