"""Commands about secrets: keeping their values, and saying which there are; never what they are."""
