"""Holdfast under the yardstick: one small program for each thing that is measured, written as a user would."""
