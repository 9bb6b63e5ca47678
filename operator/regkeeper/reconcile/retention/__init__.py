"""ImageRetentions on the cluster: one pass a Registry looks after all policies of it and the run that has its lock."""
