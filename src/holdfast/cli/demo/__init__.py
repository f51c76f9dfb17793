"""`holdfast demo`: a scripted model repairs a real project with real tools, and survives a kill on request."""
