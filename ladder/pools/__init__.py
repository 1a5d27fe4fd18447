"""Raw pools become items, or rejects with reasons. Knows nothing of scoring."""
