"""What a row may say next: grammars by llguidance, and the end of a thought that has taken too long."""
