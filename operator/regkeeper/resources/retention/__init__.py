"""Pure builders of what carries a retention out: the CronJob, single Jobs, the lock, the ConfigMaps of a snapshot."""
