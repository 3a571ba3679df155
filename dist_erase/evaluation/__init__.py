"""What was and was not forgotten: embeddings, tasks, report."""
