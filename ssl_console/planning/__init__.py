"""Planning of a launch: candidates, plan, durations, disk usage."""
