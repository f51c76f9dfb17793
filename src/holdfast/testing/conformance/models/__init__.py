"""Kits of the ports of `models`.

Purpose: what every adapter of a model's port must do.
Knows: the ports.
Must not know: any adapter, any test framework.
Start reading at: `embedders.py`.
"""
