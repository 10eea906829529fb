"""Deep-supervision notes."""
