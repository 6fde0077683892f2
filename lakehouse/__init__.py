"""The dictionary every stage shares: events, tables, places, settings, errors. It imports nothing of ours."""
