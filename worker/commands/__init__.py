"""Commands of ``facemend``, a module each; worker/cli.py loads one when it is asked for."""
