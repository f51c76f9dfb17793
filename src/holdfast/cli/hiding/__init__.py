"""What is not shown: words that look like secrets."""
