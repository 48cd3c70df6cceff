"""How good a restorer is: figures, tables, sheets and comparisons."""
