"""What results say: ranking, comparison, statistics, published numbers."""
