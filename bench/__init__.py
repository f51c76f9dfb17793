"""The speed yardstick: Holdfast, the hand-written floor and other frameworks, measured the same way in turn."""
