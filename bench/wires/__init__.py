"""The yardstick of the wires: each provider's adapter against the least that one needs for exactly that protocol."""
