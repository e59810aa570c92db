"""The process that owns a workspace's queue, devices and database: it starts, watches and ends workers."""
