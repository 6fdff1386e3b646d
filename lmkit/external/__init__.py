"""Models that other tools hold: queried where they are, behind the contract of every language model."""
