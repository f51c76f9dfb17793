"""How a call of a tool elsewhere is authenticated: by a secret that only the request that carries it ever sees."""
