"""Exported policies in emulators of microcontrollers."""
