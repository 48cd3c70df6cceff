"""Photos as bytes and as pixels: decode, encode, colour profiles, geometry. No torch."""
