"""Operations of both front ends."""
