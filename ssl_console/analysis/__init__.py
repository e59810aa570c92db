"""Analysis of results: rankings, comparisons, statistics, published numbers."""
