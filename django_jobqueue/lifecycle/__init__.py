"""How a job moves: what becomes of it is decided here and nowhere else; the store makes it true."""
