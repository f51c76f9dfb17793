"""`holdfast budget`: what a store's users and sessions may spend, and what they have."""
