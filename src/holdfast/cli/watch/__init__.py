"""`holdfast runs watch`: a session on a whole screen, live or over, whichever process drives it."""
