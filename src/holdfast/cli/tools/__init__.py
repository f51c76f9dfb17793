"""Commands about tools: what there are, what they do, one call of one, trying one, and why a call may be or not."""
