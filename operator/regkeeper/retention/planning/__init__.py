"""A plan: what all judgements come to, in exact bytes, within limits."""
