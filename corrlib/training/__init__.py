"""The losses, and the one loop that trains both stages."""
