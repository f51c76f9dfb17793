"""A talk in the terminal: `conversation.py` is the session, `talk.py` what lines do, `line/` where they are typed."""
