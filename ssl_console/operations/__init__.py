"""What a user can do, for both front ends."""
