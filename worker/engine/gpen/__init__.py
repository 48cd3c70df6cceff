"""GPEN: configuration, layers, generator and discriminator."""
