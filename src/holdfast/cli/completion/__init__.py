"""Completing command lines in the person's shell."""
