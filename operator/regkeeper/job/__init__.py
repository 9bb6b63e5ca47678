"""A run on the cluster, as its Job's pod carries it out: the snapshot in, the engine, the answer out.

The pod has two containers after one another, `plan` (it only reads, while the registry takes pushes) and `run`. It
knows neither Kubernetes nor its API: snapshot.py and answer.py are all that it shares with the operator.
"""
