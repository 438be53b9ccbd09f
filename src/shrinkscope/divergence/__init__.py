"""Divergences between latent distributions: pure mathematics, exact where an exact form exists."""
