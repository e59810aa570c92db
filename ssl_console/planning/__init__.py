"""What would run: candidates, plan, duration, disk usage."""
