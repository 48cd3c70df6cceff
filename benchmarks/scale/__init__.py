"""How the service grows: simulations of fleets that are larger than one machine."""
