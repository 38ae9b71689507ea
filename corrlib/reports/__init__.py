"""From finished runs to the tables and sentences that notebooks show."""
