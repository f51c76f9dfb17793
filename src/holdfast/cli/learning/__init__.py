"""What is learned from the events of a session, in their order, and shown beside them."""
