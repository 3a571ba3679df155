"""Ranks: context and gradient-carrying gather."""
