"""Surface normals: a direction for every pixel."""
