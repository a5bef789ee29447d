"""What is believed: pure decisions over given bytes at a given time."""
