"""Enrich, check, count and serve: from micro-batches to curated listens, KPIs and DynamoDB."""
