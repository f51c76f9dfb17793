"""How a call reaches a tool that stands elsewhere: one file for each way, each of which speaks its wire and no more."""
