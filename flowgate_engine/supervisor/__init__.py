"""The daemon that keeps the services, and the pieces it is made of."""
