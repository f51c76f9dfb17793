"""Tools that stand elsewhere: how they are declared, and what is around each of their calls."""
